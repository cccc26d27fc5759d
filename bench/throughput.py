"""Training throughput of the default network on the CPU, compared with PyTorch eager.

    python bench/throughput.py                # 9 rounds at 28 x 28 and 64 x 64, about one minute
    python bench/throughput.py --profile      # also the time of each layer

softmargin runs its complete training step: augmentation, network, loss, optimizer. PyTorch computes the same network,
loss and optimizer on images in memory. Both use the same number of threads. In every round each program runs once,
one after the other. A ratio is the median of the ratios of the rounds, so that other load on the machine affects both
sides. The table is printed and written to bench/results/.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys

from machine import ROOT, description, save

SIDES = (28, 64)
IMAGES = {28: 2048, 64: 1024}
LAYOUTS = ("contiguous", "channels_last")


class Worker:
    """A process that trains one epoch for each line on its standard input."""

    def __init__(self, arguments, threads):
        environment = {**os.environ, "RAYON_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(arguments, stdin=pipe, stdout=pipe, text=True, env=environment)

    def images_per_second(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())["images_per_second"]

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def example_executable():
    """Builds the throughput example and returns the path of its executable."""
    build = ["cargo", "build", "--release", "--workspace", "--example", "throughput", "--message-format", "json"]
    built = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "throughput" and m.get("executable"))


def measure(executable, side, rounds, threads):
    """Returns the images per second of each round for softmargin and for PyTorch in each layout."""
    plan = subprocess.run([executable, "plan", str(side)], check=True, stdout=subprocess.PIPE, text=True).stdout
    images = str(IMAGES[side])
    workers = {"softmargin": Worker([executable, "train", str(side), images, str(rounds + 1)], threads)}
    for layout in LAYOUTS:
        script = str(ROOT / "bench" / "torch_training.py")
        arguments = [sys.executable, script, str(side), images, layout, str(threads), plan]
        workers[layout] = Worker(arguments, threads)
    speeds = {name: [] for name in workers}
    for number in range(rounds + 1):
        for name, worker in workers.items():
            speed = worker.images_per_second()
            if number > 0:  # the first round is a warm-up
                speeds[name].append(speed)
    for worker in workers.values():
        worker.close()
    return speeds


def rows(side, speeds):
    own = speeds["softmargin"]
    yield row(side, "softmargin", own, "")
    for layout in LAYOUTS:
        ratios = [ours / theirs for ours, theirs in zip(own, speeds[layout])]
        yield row(side, f"PyTorch, {layout}", speeds[layout], f"{statistics.median(ratios):.2f}")


def row(side, name, speeds, ratio):
    image = f"{side} x {side}"
    return f"{image:<10}{name:<26}{statistics.median(speeds):>10.0f}{min(speeds):>10.0f}{max(speeds):>10.0f}{ratio:>14}"


def profile(executable, side, threads):
    """Returns the milliseconds of each part of a step with 64 images."""
    environment = {**os.environ, "RAYON_NUM_THREADS": str(threads)}
    arguments = [executable, "profile", str(side)]
    run = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    parts = json.loads(run.stdout)
    return [f"{f'{side} x {side}':<10}{name:<40}{milliseconds:>10.2f}" for name, milliseconds in parts]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=9, help="at least 7")
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--profile", action="store_true", help="also print the time of each part of a step")
    arguments = parser.parse_args()
    if arguments.rounds < 7:
        parser.error("--rounds: expected at least 7")
    import torch

    executable = example_executable()
    lines = [
        "training throughput of the default network, batches of 64, images per second; ratio: softmargin to PyTorch",
        f"{description()}, {arguments.threads} threads, {arguments.rounds} rounds, PyTorch {torch.__version__} eager",
        "",
        f"{'image':<10}{'':<26}{'median':>10}{'min':>10}{'max':>10}{'median ratio':>14}",
    ]
    for side in SIDES:
        lines += rows(side, measure(executable, side, arguments.rounds, arguments.threads))
    if arguments.profile:
        lines += ["", f"{'image':<10}{'part of a step of 64 images':<40}{'ms':>10}"]
        for side in SIDES:
            lines += profile(executable, side, arguments.threads)
    save("throughput", lines)


if __name__ == "__main__":
    main()
