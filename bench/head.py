"""Time of one step of a linear classification head (loss and both gradients), compared with PyTorch.

A step computes the loss and the gradients with respect to embeddings and prototypes. Each row of a table compares two
processes, softmargin and a peer, which have data of the same distribution and run alternately. In each round a
process runs as many steps as take 0.3 s, at least one. Times are medians over the rounds. A ratio is the median of
the ratios of the rounds; above 1, softmargin is faster. Short steps are measured in three times as many rounds. A step
of more than 100 s (PyTorch's bfloat16 without native instructions) is measured once, after the warm-up.

Gradients are `fresh` if each program allocates them in every step. They are `kept` if their memory is reused:
softmargin overwrites them, and PyTorch adds to them; the time to zero them is not included. `huge` means that the
memory of the peer is on huge pages.

Memory is the peak of the process beyond X, W, dX and dW. For the peer, interpreter, libraries and compiler are
excluded as well; for softmargin, the program is included.

    python -m venv bench/.venv
    bench/.venv/bin/pip install torch numpy pytorch-metric-learning cut-cross-entropy ./bindings/python
    bench/.venv/bin/python bench/head.py                        # all tables, about one hour
    bench/.venv/bin/python bench/head.py --only am-softmax      # one table

Progress is written to standard error. The tables are printed and written to bench/results/; a part of them has a
separate file name.
"""

import argparse
import contextlib
import dataclasses
import importlib.metadata
import json
import os
import statistics
import subprocess
import sys
import time

from machine import ROOT, bench_executable, description, save

SHAPES = [(128, 512, 1000), (256, 128, 100_000), (256, 512, 100_000), (1024, 512, 30_000), (64, 512, 1_000_000)]
MIDDLE, TALL, WIDE, LARGE = SHAPES[2], SHAPES[3], SHAPES[4], (256, 512, 1_000_000)
ROUND, SHORT, LONG = 0.3, 0.05, 100.0  # seconds of a round, of a short step and of a long step
MIB = 2**20
COLUMNS = (f"{'N, D, C':<20}{'peer':<16}{'gradients':<14}{'ours':>10}{'peer':>10}{'ratio':>8}{'rounds':>8}"
           f"{'our MiB':>10}{'peer MiB':>10}{'of FMA peak':>13}")


class WorkerExited(Exception):
    """A worker exited before it answered."""


class Worker:
    """A process that prepares its data and runs one step for each line on its standard input."""

    def __init__(self, name, command, shape, threads, options, huge=False):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        if huge:
            environment["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        words = [*command, *map(str, shape), *(f"{key}={value}" for key, value in options.items())]
        pipe = subprocess.PIPE
        self.name, self.end = name, None
        self.process = subprocess.Popen(words, stdin=pipe, stdout=pipe, text=True, cwd=ROOT, env=environment)
        self.own_bytes = self.read()["own_bytes"]

    def read(self):
        line = self.process.stdout.readline()
        if not line:
            raise WorkerExited(f"{self.name}: exited with status {self.process.wait()}")
        return json.loads(line)

    def step(self, count=1):
        """Returns the mean seconds of `count` steps."""
        time.sleep(0.02)  # idle threads of the other process may still be spinning
        seconds = 0.0
        for _ in range(count):
            with contextlib.suppress(BrokenPipeError):  # read() then raises
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            seconds += self.read()["seconds"]
        return seconds / count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(WorkerExited):
            self.end = self.read()
        self.process.wait()

    def peak_bytes(self):
        if self.end is None:
            raise WorkerExited(f"{self.name}: did not exit normally")
        return self.end["peak_bytes"]

    def extra(self):
        """Returns the peak bytes beyond X, W, dX and dW, and beyond the memory of the process at the start."""
        return self.peak_bytes() - max(self.end["start_bytes"], self.own_bytes)


@dataclasses.dataclass
class Row:
    """Results of a pair of workers."""

    shape: tuple
    peer: str
    gradients: str
    rounds: list  # pairs of seconds
    extra: tuple
    gflops: float

    def seconds(self, side):
        return statistics.median(pair[side] for pair in self.rounds)

    def ratio(self):
        return statistics.median(theirs / ours for ours, theirs in self.rounds)

    def __str__(self):
        rows, dimension, classes = self.shape
        share = 6e-9 * rows * dimension * classes / self.seconds(0) / self.gflops
        return (f"{shape_text(self.shape):<20}{self.peer:<16}{self.gradients:<14}{1e3 * self.seconds(0):>10.2f}"
                f"{1e3 * self.seconds(1):>10.2f}{self.ratio():>8.2f}{len(self.rounds):>8}"
                f"{self.extra[0] / MIB:>10.1f}{self.extra[1] / MIB:>10.1f}{share:>12.0%}")


class Bench:
    """Starts pairs of workers, runs them alternately, and collects the lines of the tables."""

    def __init__(self, arguments):
        self.arguments, self.lines = arguments, []
        self.executable = bench_executable("head")
        environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
        peak = [self.executable, "--peak"]
        self.peak = json.loads(subprocess.run(peak, check=True, stdout=subprocess.PIPE, env=environment).stdout)

    def report(self, *lines):
        for line in lines:
            print(line, file=sys.stderr, flush=True)
            self.lines.append(line)

    def chosen(self, *shapes):
        return [shape for shape in shapes if shape in (self.arguments.shapes or shapes)]

    def ours(self, loss, shape, threads=None, **options):
        command = [self.executable, "--serve", loss]
        return Worker("softmargin", command, shape, threads or self.arguments.threads, options)

    def torch(self, peer, loss, shape, huge=False, **options):
        command = [sys.executable, str(ROOT / "bench" / "torch_head.py"), "--serve", peer, loss]
        return Worker(peer, command, shape, self.arguments.threads, options, huge)

    def run_alternately(self, first, second):
        """Returns the seconds per step of both workers in each round."""
        once = first.step(), second.step()
        if max(once) > LONG:
            return [once]
        once = min(once[0], first.step()), min(once[1], second.step())
        rounds = self.arguments.rounds * (3 if max(once) < SHORT else 1)
        counts = [max(1, round(ROUND / seconds)) for seconds in once]
        return [(first.step(counts[0]), second.step(counts[1])) for _ in range(rounds)]

    def pair(self, shape, peer, gradients, ours, theirs):
        """Returns and prints the row of two workers, given by functions that start them; None if one exits."""
        try:
            with ours() as first, theirs() as second:
                rounds = self.run_alternately(first, second)
            row = Row(shape, peer, gradients, rounds, (first.extra(), second.extra()), self.peak["gflops"])
        except WorkerExited as reason:
            return self.report(f"{shape_text(shape):<20}{peer:<16}{reason}")
        self.report(str(row))
        return row

    def compare_with(self, peer, loss, shape, memory="fresh", huge=False, **options):
        """Prints and returns the row of softmargin and a peer of torch_head.py."""
        return self.pair(
            shape, f"{peer} {options.get('precision', '')}".strip(), f"{memory}, huge" if huge else memory,
            lambda: self.ours(loss, shape, memory=memory, **options),
            lambda: self.torch(peer, loss, shape, huge, memory=memory, **options),
        )

    def summary(self, name, rows):
        ratios = [row.ratio() for row in rows]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            self.report(f"ratio to {name}: minimum {min(ratios):.2f}, geometric mean {mean:.2f}")


def am_softmax(bench, loss):
    bench.report("am-softmax (scale 30, margin 0.35), f32", COLUMNS)
    rows = []
    for shape in bench.chosen(*SHAPES):
        for peer in ("eager", "compile", "pml"):
            rows.append(bench.compare_with(peer, loss, shape))
        for memory in ("fresh", "kept"):
            rows.append(bench.compare_with("compile", loss, shape, memory, huge=True))
    rows = [row for row in rows if row]
    bench.summary("the fastest peer of each shape, without pml", fastest(row for row in rows if row.peer != "pml"))
    bench.summary("pml, C >= 100000", [row for row in rows if row.peer == "pml" and row.shape[2] >= 100_000])


def arcface(bench, loss):
    bench.report("arcface (scale 64, margin 0.5), f32", COLUMNS)
    for shape in bench.chosen(MIDDLE):
        bench.compare_with("pml", loss, shape)


def cross_entropy(bench, loss):
    bench.report("plain cross-entropy, f32; chunked only where its documentation recommends it (N >= D, C > D)", COLUMNS)
    rows = []
    for shape in bench.chosen(*SHAPES):
        for peer in ("eager", "compile", "linear", "cce"):
            rows.append(bench.compare_with(peer, loss, shape))
        rows.append(bench.compare_with("compile", loss, shape, huge=True))
        if shape[0] >= shape[1] and shape[2] > shape[1]:
            rows.append(bench.compare_with("chunked", loss, shape))
    bench.summary("the fastest peer of each shape", fastest(row for row in rows if row))


def bf16(bench, loss):
    bench.report("am-softmax, bfloat16; PyTorch uses autocast", COLUMNS)
    for shape in bench.chosen(MIDDLE, TALL):
        bench.pair(shape, "softmargin f32", "fresh", lambda: bench.ours(loss, shape, precision="bf16"),
                   lambda: bench.ours(loss, shape))
        for peer in ("eager", "compile"):
            bench.compare_with(peer, loss, shape, precision="bf16")


def threads(bench, loss):
    bench.report(f"am-softmax, f32, {bench.arguments.threads} threads compared with one thread of softmargin", COLUMNS)
    for shape in bench.chosen(MIDDLE):
        bench.pair(shape, "1 thread", "fresh", lambda: bench.ours(loss, shape), lambda: bench.ours(loss, shape, 1))


def python(bench, loss):
    bench.report("am-softmax, f32, called from Python through PyTorch's autograd, compared with the call from Rust", COLUMNS)
    for shape in bench.chosen(MIDDLE, TALL):
        bench.pair(shape, "from Python", "kept", lambda: bench.ours(loss, shape, memory="kept"),
                   lambda: bench.torch("softmargin", loss, shape))


def memory(bench, loss):
    bench.report("memory, am-softmax, f32: peak beyond X, W, dX and dW",
              f"{'N, D, C':<20}{'mode':<30}{'ms':>10}{'MiB':>10}{'scores, MiB':>13}")

    def line(shape, mode, worker, extra):
        with worker:
            seconds = statistics.median(worker.step() for _ in range(3))
        scores = 4 * shape[0] * shape[2] / MIB
        bench.report(f"{shape_text(shape):<20}{mode:<30}{1e3 * seconds:>10.1f}{extra(worker) / MIB:>10.1f}{scores:>13.1f}")

    for shape in bench.chosen(MIDDLE, WIDE):
        for mode in ("auto", "store-half", "recompute"):
            line(shape, mode, bench.ours(loss, shape, mode=mode), Worker.extra)
    for shape in bench.chosen(LARGE):
        w_and_momentum = 2 * 4 * shape[1] * shape[2]
        line(shape, "SGD, beyond W and momentum", bench.ours(loss, shape, step="sgd"),
             lambda worker: worker.peak_bytes() - w_and_momentum)


def growth(bench, loss):
    """Time per class for ten times as many classes. Both heads may store their scores, 1 GB in the second case."""
    (rows, dimension, fewer), (_, _, more) = MIDDLE, LARGE
    bench.report("growth with the number of classes, am-softmax, f32, 2 GiB allowed beyond embeddings, prototypes and gradients")
    for shape in bench.chosen(LARGE):
        for memory in ("fresh", "kept"):
            options = {"allowed": 2 << 30, "memory": memory}
            with (
                bench.ours(loss, (rows, dimension, fewer), **options) as first,
                bench.ours(loss, shape, **options) as second,
            ):
                rounds = [(ours / fewer, theirs / more) for ours, theirs in bench.run_alternately(first, second)]
            few, many = (1e6 * statistics.median(pair[side] for pair in rounds) for side in (0, 1))
            ratio = statistics.median(many / few for few, many in rounds)
            bench.report(f"N {rows}, D {dimension}, gradients {memory}: {few:.2f} us per class at C = {fewer}, {many:.2f} us "
                         f"at C = {more}; ratio {ratio:.2f}")


TABLES = {
    "am-softmax": (am_softmax, "am-softmax"), "arcface": (arcface, "arcface"),
    "cross-entropy": (cross_entropy, "cross-entropy"), "bf16": (bf16, "am-softmax"),
    "threads": (threads, "am-softmax"), "python": (python, "am-softmax"), "memory": (memory, "am-softmax"),
    "growth": (growth, "am-softmax"),
}


def fastest(rows):
    """Returns the row with the fastest peer for each shape."""
    best = {}
    for row in rows:
        best[row.shape] = min(best.get(row.shape, row), row, key=lambda row: row.seconds(1))
    return list(best.values())


def shape_text(shape):
    return ", ".join(map(str, shape))


def versions():
    for package in ("torch", "pytorch-metric-learning", "cut-cross-entropy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 7")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shapes", nargs="+", metavar="N,D,C", help="shapes to measure",
                        type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--losses", nargs="+", choices=("am-softmax", "arcface", "cross-entropy"))
    parser.add_argument("--only", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    arguments = parser.parse_args()
    if arguments.rounds < 7:
        parser.error("--rounds: expected at least 7")
    unknown = set(arguments.shapes or ()) - {*SHAPES, LARGE}
    if unknown:
        parser.error(f"--shapes: expected some of {[*SHAPES, LARGE]}, found {sorted(unknown)}")
    bench = Bench(arguments)
    bench.report(
        "one step of a classification head: loss, gradients of embeddings and prototypes; ms; ratio: peer to ours",
        f"{description()}, {arguments.threads} threads, {arguments.rounds} rounds, {bench.peak['instruction_set']}, "
        f"measured FMA peak {bench.peak['gflops']:.1f} GFLOP/s (f32, all threads)",
        ", ".join(versions()),
        "gradients: fresh: allocated in every step; kept: memory reused, PyTorch adds to it; huge: memory of the peer on",
        "huge pages. MiB: peak memory beyond X, W, dX and dW. Share of the FMA peak: ours, for 6 N D C operations.",
    )
    for name, (table, loss) in TABLES.items():
        if arguments.only in (None, name) and loss in (arguments.losses or (loss,)):
            bench.report("")
            try:
                table(bench, loss)
            except WorkerExited as reason:
                bench.report(str(reason))
    part = arguments.shapes or arguments.losses or arguments.only
    save("head-part" if part else "head", bench.lines)


if __name__ == "__main__":
    main()
