"""Value and gradient of the family on given scores, (256, 100000) f32, against PyTorch's F.cross_entropy.

The programs run alternately, case by case, so that other load on the machine affects all of them. Every program uses
all cores. By default each program allocates the gradient in every step (`fresh`). A second measurement of softmargin
reuses the memory of the gradient (`kept`), and a second PyTorch process has its memory on huge pages, its fastest
configuration.

    python -m venv bench/.venv && bench/.venv/bin/pip install torch numpy
    bench/.venv/bin/python bench/family.py            # prints the results and writes them to bench/results/
"""

import os
import statistics
import subprocess
import sys

from machine import ROOT, bench_executable, description, save

REPEATS = 15
CASES = [
    "log-sum-exp-softplus", "log-sum-exp-relu", "hardest-relu", "hardest-softplus",
    "each-pair-relu", "each-pair-softplus", "against-zero-relu", "against-zero-softplus",
]


class Worker:
    """A process that answers each line with the name of a case by the seconds of one evaluation."""

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
    softmargin = Worker([bench_executable("family"), "--serve"])
    torch_default = Worker(torch_worker)
    torch_huge = Worker(torch_worker, GLIBC_TUNABLES="glibc.malloc.hugetlb=1")
    runs = {f"{case} {memory}": (softmargin, f"{case} {memory}") for case in CASES for memory in ("fresh", "kept")}
    runs["torch eager"] = (torch_default, "eager")
    runs["torch compile"] = (torch_default, "compile")
    runs["torch eager, huge pages"] = (torch_huge, "eager")
    runs["torch compile, huge pages"] = (torch_huge, "compile")
    for worker, case in runs.values():  # warm-up: compilation, first memory access
        worker.time(case)
    times = {name: [] for name in runs}
    for _ in range(REPEATS):
        for name, (worker, case) in runs.items():
            times[name].append(worker.time(case))
    median = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    for worker in (softmargin, torch_default, torch_huge):
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
    save("family", lines)


if __name__ == "__main__":
    main()
