"""Description of the machine, executables of the benchmarks of the core, and output of results."""

import datetime
import json
import os
import pathlib
import platform
import subprocess

ROOT = pathlib.Path(__file__).resolve().parent.parent


def description():
    """Returns date, processor and number of cores for the header of a table."""
    return f"{datetime.date.today()}, {_processor()}, {os.cpu_count()} cores"


def bench_executable(name):
    """Builds a benchmark of the core crate and returns the path of its executable."""
    command = ["cargo", "bench", "--profile", "release", "-p", "softmargin", "--bench", name, "--no-run",
               "--message-format", "json"]
    built = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == name and m.get("executable"))


def save(name, lines):
    """Prints a table and writes it to a dated file in bench/results/."""
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
