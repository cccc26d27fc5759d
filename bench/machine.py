"""The machine that a figure was measured on, our program that is measured, and where its output is kept."""

import datetime
import json
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def description():
    """Date, processor and cores, for the head of a table."""
    return f"{datetime.date.today()}, {_processor()}, {os.cpu_count()} cores"


def our_bench(name):
    """The executable of a bench of the core crate, built."""
    command = ["cargo", "bench", "--profile", "release", "-p", "softmargin", "--bench", name, "--no-run",
               "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == name and m.get("executable"))


def keep(name, lines):
    """Prints a table and keeps it as a dated file."""
    text = "\n".join(lines)
    print(text)
    results = ROOT / "bench" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / f"{datetime.date.today()}-{name}.txt").write_text(text + "\n")


def _processor():
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":")[1].strip()
    return platform.processor()
