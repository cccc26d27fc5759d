"""Value and gradient of the family on given scores, (256, 100000) f32, against PyTorch's F.cross_entropy.

All programs run in one process tree and take turns, case by case, so that whatever else the machine does hits them
alike. Every program uses all cores. The gradient is allocated by whoever computes it, fresh each time; a second row of
ours writes it where the last one was, and a second peer has its memory on huge pages, which is the best that it gets.

    python -m venv bench/.venv && bench/.venv/bin/pip install torch numpy
    bench/.venv/bin/python bench/family.py            # prints, and keeps the output in bench/results/
"""

import json
import os
import statistics
import subprocess
import sys

from machine import ROOT, description, keep, our_bench

REPEATS = 15
CASES = [
    "log-sum-exp-softplus", "log-sum-exp-relu", "hardest-relu", "hardest-softplus",
    "each-pair-relu", "each-pair-softplus", "against-zero-relu", "against-zero-softplus",
]


class Worker:
    """A program that answers a line naming a case with the seconds that it took."""

    def __init__(self, command, **environment):
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment}
        )

    def time(self, case):
        self.process.stdin.write(case + "\n")
        self.process.stdin.flush()
        return float(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    torch_worker = [sys.executable, str(ROOT / "bench" / "torch_worker.py")]
    ours = Worker([our_bench("family"), "--serve"])
    peer = Worker(torch_worker)
    huge = Worker(torch_worker, GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    runs = {f"{case} {memory}": (ours, f"{case} {memory}") for case in CASES for memory in ("fresh", "kept")}
    runs["torch eager"] = (peer, "eager")
    runs["torch compile"] = (peer, "compile")
    runs["torch eager, huge pages"] = (huge, "eager")
    runs["torch compile, huge pages"] = (huge, "compile")
    for worker, case in runs.values():  # once each, not counted: compilation, first touch
        worker.time(case)
    times = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, (worker, case) in runs.items():
            times[name].append(worker.time(case))
    median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    for worker in (ours, peer, huge):
        worker.close()

    import torch

    lines = [
        f"value and gradient on given scores, (256, 100000) f32, medians of {REPEATS}, ms",
        f"{description()}, torch {torch.__version__}",
        "",
        f"{'PyTorch F.cross_entropy':<28}{'ms':>8}",
    ]
    for name in [name for name in runs if name.startswith("torch")]:
        lines.append(f"{name:<28}{median[name]:>8.1f}")
    eager, best = median["torch eager"], min(v for n, v in median.items() if n.startswith("torch"))
    lines += ["", f"{'softmargin':<28}{'fresh':>8}{'x eager':>9}{'x best':>8}{'kept':>9}{'x eager':>9}{'x best':>8}"]
    for case in CASES:
        fresh, kept = median[f"{case} fresh"], median[f"{case} kept"]
        lines.append(f"{case:<28}{fresh:>8.1f}{eager / fresh:>9.1f}{best / fresh:>8.1f}"
                     f"{kept:>9.1f}{eager / kept:>9.1f}{best / kept:>8.1f}")
    keep("family", lines)


if __name__ == "__main__":
    main()
