"""The machine that a figure was measured on, and where its output is kept."""

import datetime
import os
import pathlib
import platform

ROOT = pathlib.Path(__file__).resolve().parent.parent


def description():
    """Date, processor and cores, for the head of a table."""
    return f"{datetime.date.today()}, {_processor()}, {os.cpu_count()} cores"


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
