"""One step of a linear classification head (loss, gradient by embeddings, gradient by prototypes) against PyTorch's.

A row of a table is a pair of processes, softmargin and a peer, that have data of the same law ready and take turns: a
round asks each for as many steps as make a third of a second, at least one. Times are medians of the rounds, a ratio is
the median of the rounds' own ratios, and more than 1 is in our favor. Short steps get three times the rounds. A step
of more than 100 s (PyTorch's bfloat16 without the instructions for it) is done once after the one that warms up.

Gradients are `fresh`, which each program allocates in each step, or `kept`, which lie where they were: softmargin
writes them, PyTorch adds to them, the zeroing not counted. `huge` means that the peer's memory is on huge pages.

Memory is what a process has at most beyond X, W, dX and dW. The peer's is also without its interpreter, libraries and
compiler, ours with the program.

    python -m venv bench/.venv
    bench/.venv/bin/pip install torch numpy pytorch-metric-learning cut-cross-entropy ./bindings/python
    bench/.venv/bin/python bench/head.py                        # all tables, about an hour
    bench/.venv/bin/python bench/head.py --only am-softmax      # one of them

Progress goes to standard error. Prints the tables and keeps them in bench/results/, a part of them under another name.
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

from machine import ROOT, description, keep, our_bench

SHAPES = [(128, 512, 1000), (256, 128, 100_000), (256, 512, 100_000), (1024, 512, 30_000), (64, 512, 1_000_000)]
MIDDLE, TALL, WIDE, LARGE = SHAPES[2], SHAPES[3], SHAPES[4], (256, 512, 1_000_000)
TURN, SHORT, LONG = 0.3, 0.05, 100.0  # seconds: of a round, and of a short and a long step
MIB = 2**20
COLUMNS = (f"{'N, D, C':<20}{'peer':<16}{'gradients':<14}{'ours':>10}{'peer':>10}{'ratio':>8}{'rounds':>8}"
           f"{'our MiB':>10}{'peer MiB':>10}{'of FMA peak':>13}")


class Ended(Exception):
    """A worker ended before it answered."""


class Worker:
    """A program that has its data ready and does a step for each line that it is sent."""

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
            raise Ended(f"{self.name}: ended with status {self.process.wait()}")
        return json.loads(line)

    def step(self, count=1):
        """Seconds of one of `count` steps."""
        time.sleep(0.02)  # threads of the other process may still be on the watch for work
        seconds = 0.0
        for _ in range(count):
            with contextlib.suppress(BrokenPipeError):  # then there is nothing to read either
                self.process.stdin.write("\n")
                self.process.stdin.flush()
            seconds += self.read()["seconds"]
        return seconds / count

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        with contextlib.suppress(Ended):
            self.end = self.read()
        self.process.wait()

    def peak_bytes(self):
        if self.end is None:
            raise Ended(f"{self.name}: did not end in order")
        return self.end["peak_bytes"]

    def extra(self):
        """Peak bytes beyond X, W, dX and dW; where those lie in memory at the start, what else does is not counted."""
        return self.peak_bytes() - max(self.end["start_bytes"], self.own_bytes)


@dataclasses.dataclass
class Row:
    """What a pair of workers took."""

    shape: tuple
    peer: str
    gradients: str
    rounds: list  # seconds of both, for each round
    extra: tuple
    gflops: float

    def seconds(self, side):
        return statistics.median(pair[side] for pair in self.rounds)

    def ratio(self):
        return statistics.median(theirs / ours for ours, theirs in self.rounds)

    def __str__(self):
        rows, dimension, classes = self.shape
        share = 6e-9 * rows * dimension * classes / self.seconds(0) / self.gflops
        return (f"{written(self.shape):<20}{self.peer:<16}{self.gradients:<14}{1e3 * self.seconds(0):>10.2f}"
                f"{1e3 * self.seconds(1):>10.2f}{self.ratio():>8.2f}{len(self.rounds):>8}"
                f"{self.extra[0] / MIB:>10.1f}{self.extra[1] / MIB:>10.1f}{share:>12.0%}")


class Bench:
    """Starts workers, has pairs of them take turns, and collects the lines of the tables."""

    def __init__(self, arguments):
        self.arguments, self.lines = arguments, []
        self.executable = our_bench("head")
        environment = {**os.environ, "RAYON_NUM_THREADS": str(arguments.threads)}
        peak = [self.executable, "--peak"]
        self.peak = json.loads(subprocess.run(peak, check=True, stdout=subprocess.PIPE, env=environment).stdout)

    def say(self, *lines):
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

    def turns(self, first, second):
        """Seconds of a step of both in each round."""
        once = first.step(), second.step()
        if max(once) > LONG:
            return [once]
        once = min(once[0], first.step()), min(once[1], second.step())
        rounds = self.arguments.rounds * (3 if max(once) < SHORT else 1)
        counts = [max(1, round(TURN / seconds)) for seconds in once]
        return [(first.step(counts[0]), second.step(counts[1])) for _ in range(rounds)]

    def pair(self, shape, peer, gradients, ours, theirs):
        """Says and returns a row of two workers, given as the functions that start them; none if one of them ends."""
        try:
            with ours() as first, theirs() as second:
                rounds = self.turns(first, second)
            row = Row(shape, peer, gradients, rounds, (first.extra(), second.extra()), self.peak["gflops"])
        except Ended as reason:
            return self.say(f"{written(shape):<20}{peer:<16}{reason}")
        self.say(str(row))
        return row

    def against(self, peer, loss, shape, memory="fresh", huge=False, **options):
        """A row against a peer of torch_head.py."""
        return self.pair(
            shape, f"{peer} {options.get('precision', '')}".strip(), f"{memory}, huge" if huge else memory,
            lambda: self.ours(loss, shape, memory=memory, **options),
            lambda: self.torch(peer, loss, shape, huge, memory=memory, **options),
        )

    def summary(self, name, rows):
        ratios = [row.ratio() for row in rows]
        if ratios:
            mean = statistics.geometric_mean(ratios)
            self.say(f"ratio against {name}: least {min(ratios):.2f}, geometric mean {mean:.2f}")


def am_softmax(bench, loss):
    bench.say("am-softmax (scale 30, margin 0.35), f32", COLUMNS)
    rows = []
    for shape in bench.chosen(*SHAPES):
        for peer in ("eager", "compile", "pml"):
            rows.append(bench.against(peer, loss, shape))
        for memory in ("fresh", "kept"):
            rows.append(bench.against("compile", loss, shape, memory, huge=True))
    rows = [row for row in rows if row]
    bench.summary("the fastest peer of each shape, pml apart", fastest(row for row in rows if row.peer != "pml"))
    bench.summary("pml, C >= 100000", [row for row in rows if row.peer == "pml" and row.shape[2] >= 100_000])


def arcface(bench, loss):
    bench.say("arcface (scale 64, margin 0.5), f32", COLUMNS)
    for shape in bench.chosen(MIDDLE):
        bench.against("pml", loss, shape)


def cross_entropy(bench, loss):
    bench.say("plain cross-entropy, f32; chunked, where its documentation has it pay (N >= D, C > D)", COLUMNS)
    rows = []
    for shape in bench.chosen(*SHAPES):
        for peer in ("eager", "compile", "linear", "cce"):
            rows.append(bench.against(peer, loss, shape))
        rows.append(bench.against("compile", loss, shape, huge=True))
        if shape[0] >= shape[1] and shape[2] > shape[1]:
            rows.append(bench.against("chunked", loss, shape))
    bench.summary("the fastest peer of each shape", fastest(row for row in rows if row))


def bf16(bench, loss):
    bench.say("am-softmax, bfloat16; PyTorch's is autocast", COLUMNS)
    for shape in bench.chosen(MIDDLE, TALL):
        bench.pair(shape, "our own f32", "fresh", lambda: bench.ours(loss, shape, precision="bf16"),
                   lambda: bench.ours(loss, shape))
        for peer in ("eager", "compile"):
            bench.against(peer, loss, shape, precision="bf16")


def threads(bench, loss):
    bench.say(f"am-softmax, f32, {bench.arguments.threads} threads against our own one", COLUMNS)
    for shape in bench.chosen(MIDDLE):
        bench.pair(shape, "1 thread", "fresh", lambda: bench.ours(loss, shape), lambda: bench.ours(loss, shape, 1))


def python(bench, loss):
    bench.say("am-softmax, f32, from Python, through PyTorch's autograd, against our own kernel from Rust", COLUMNS)
    for shape in bench.chosen(MIDDLE, TALL):
        bench.pair(shape, "from Python", "kept", lambda: bench.ours(loss, shape, memory="kept"),
                   lambda: bench.torch("softmargin", loss, shape))


def memory(bench, loss):
    bench.say("memory, am-softmax, f32: peak beyond X, W, dX and dW",
              f"{'N, D, C':<20}{'mode':<30}{'ms':>10}{'MiB':>10}{'scores, MiB':>13}")

    def line(shape, mode, worker, extra):
        with worker:
            seconds = statistics.median(worker.step() for _ in range(3))
        scores = 4 * shape[0] * shape[2] / MIB
        bench.say(f"{written(shape):<20}{mode:<30}{1e3 * seconds:>10.1f}{extra(worker) / MIB:>10.1f}{scores:>13.1f}")

    for shape in bench.chosen(MIDDLE, WIDE):
        for mode in ("auto", "store-half", "recompute"):
            line(shape, mode, bench.ours(loss, shape, mode=mode), Worker.extra)
    for shape in bench.chosen(LARGE):
        w_and_momentum = 2 * 4 * shape[1] * shape[2]
        line(shape, "SGD, beyond W and momentum", bench.ours(loss, shape, step="sgd"),
             lambda worker: worker.peak_bytes() - w_and_momentum)


def growth(bench, loss):
    """Time of a class, of ten times as many classes; both may keep their scores, which takes 1 GB of the second."""
    (rows, dimension, fewer), (_, _, more) = MIDDLE, LARGE
    bench.say("growth with the classes, am-softmax, f32, 2 GiB allowed beyond embeddings, prototypes and gradients")
    for shape in bench.chosen(LARGE):
        for memory in ("fresh", "kept"):
            options = {"allowed": 2 << 30, "memory": memory}
            with (
                bench.ours(loss, (rows, dimension, fewer), **options) as first,
                bench.ours(loss, shape, **options) as second,
            ):
                rounds = [(ours / fewer, theirs / more) for ours, theirs in bench.turns(first, second)]
            few, many = (1e6 * statistics.median(pair[side] for pair in rounds) for side in (0, 1))
            ratio = statistics.median(many / few for few, many in rounds)
            bench.say(f"N {rows}, D {dimension}, gradients {memory}: {few:.2f} us a class at C = {fewer}, {many:.2f} us "
                      f"at C = {more}; ratio {ratio:.2f}")


TABLES = {
    "am-softmax": (am_softmax, "am-softmax"), "arcface": (arcface, "arcface"),
    "cross-entropy": (cross_entropy, "cross-entropy"), "bf16": (bf16, "am-softmax"),
    "threads": (threads, "am-softmax"), "python": (python, "am-softmax"), "memory": (memory, "am-softmax"), "growth": (growth, "am-softmax"),
}


def fastest(rows):
    """The row with the fastest peer, of each shape."""
    best = {}
    for row in rows:
        best[row.shape] = min(best.get(row.shape, row), row, key=lambda row: row.seconds(1))
    return list(best.values())


def written(shape):
    return ", ".join(map(str, shape))


def versions():
    for package in ("torch", "pytorch-metric-learning", "cut-cross-entropy"):
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            yield f"{package} {importlib.metadata.version(package)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 7")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--shapes", nargs="+", metavar="N,D,C", help="some of them",
                        type=lambda text: tuple(map(int, text.split(","))))
    parser.add_argument("--losses", nargs="+", choices=("am-softmax", "arcface", "cross-entropy"))
    parser.add_argument("--only", choices=TABLES, metavar="TABLE", help=", ".join(TABLES))
    arguments = parser.parse_args()
    if arguments.rounds < 7:
        parser.error("--rounds: expected at least 7")
    unknown = set(arguments.shapes or ()) - {*SHAPES, LARGE}
    if unknown:
        parser.error(f"--shapes: expected some of {[*SHAPES, LARGE]}, got {sorted(unknown)}")
    bench = Bench(arguments)
    bench.say(
        "one step of a classification head: loss, gradients by embeddings and prototypes; ms; ratio: peer to ours",
        f"{description()}, {arguments.threads} threads, {arguments.rounds} rounds, {bench.peak['instruction_set']}, "
        f"measured FMA peak {bench.peak['gflops']:.1f} GFLOP/s (f32, all threads)",
        ", ".join(versions()),
        "gradients: fresh: each program allocates them in each step; kept: they lie where they were, PyTorch adds to",
        "them; huge: the peer's memory is on huge pages. MiB: peak memory beyond X, W, dX and dW. Share of the FMA",
        "peak: ours, by 6 N D C operations.",
    )
    for name, (table, loss) in TABLES.items():
        if arguments.only in (None, name) and loss in (arguments.losses or (loss,)):
            bench.say("")
            try:
                table(bench, loss)
            except Ended as reason:
                bench.say(str(reason))
    part = arguments.shapes or arguments.losses or arguments.only
    keep("head-part" if part else "head", bench.lines)


if __name__ == "__main__":
    main()
