"""Test accuracy and time of `softmargin train` with default options over several seeds.

Each run is a complete `softmargin train`: it reads the data, trains and evaluates. The seconds are those that it
reports.

    python bench/recognizers.py                          # built-in digits, ten runs, about one minute
    python bench/recognizers.py --omniglot background/   # also Omniglot's background characters, about two minutes
    python bench/recognizers.py --fashion fashion-mnist/ # also Fashion-MNIST, 10 epochs

The table is printed and written to bench/results/.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile

from machine import ROOT, description, save

SEEDS = {"digits": range(10), "omniglot": range(1), "fashion-mnist": range(1)}  # the others take much longer


def command_executable():
    """Builds the command and returns the path of its executable."""
    build = ["cargo", "build", "--release", "--message-format", "json"]
    built = subprocess.run(build, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    messages = (json.loads(line) for line in built.stdout.splitlines())
    return next(m["executable"] for m in messages if m.get("target", {}).get("name") == "softmargin" and m.get("executable"))


def train(executable, flags, seed):
    """Returns the result of one run as printed by `--json`; the run directory is deleted."""
    with tempfile.TemporaryDirectory() as home:
        arguments = [executable, "train", *flags, "--seed", str(seed), "--json", "--out", os.path.join(home, "run")]
        run = subprocess.run(arguments, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        return json.loads(run.stdout)


def row(name, results):
    accuracy = [100 * result["test_accuracy"] for result in results]
    seconds = [result["seconds"] for result in results]
    first = results[0]
    return (f"{name:<16}{first['loss']:<14}{first['epochs']:>6}{first['test_images']:>8}{len(results):>6}"
            f"{statistics.median(accuracy):>10.2f}{min(accuracy):>8.2f}"
            f"{statistics.median(seconds):>10.1f}{min(seconds):>8.1f}")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fashion", metavar="FOLDER", help="folder with the IDX files of Fashion-MNIST")
    parser.add_argument("--omniglot", metavar="FOLDER", help="folder of Omniglot's characters; drawers 17 to 20 are the test set")
    arguments = parser.parse_args()
    data = {"digits": []}
    if arguments.omniglot:
        data["omniglot"] = ["--data", os.path.abspath(arguments.omniglot), "--test-split", "last:4"]
    if arguments.fashion:
        data["fashion-mnist"] = ["--data", os.path.abspath(arguments.fashion), "--epochs", "10"]
    executable = command_executable()
    lines = [
        "softmargin train, default options, seeds from 0: test accuracy (%) and time (s) of a run",
        description(),
        "",
        f"{'':<36}{'test':>8}{'':>6}{'accuracy':>18}{'seconds':>18}",
        f"{'data':<16}{'loss':<14}{'epochs':>6}{'images':>8}{'runs':>6}{'median':>10}{'min':>8}{'median':>10}{'min':>8}",
    ]
    for name, flags in data.items():
        lines.append(row(name, [train(executable, flags, seed) for seed in SEEDS[name]]))
    save("recognizers", lines)


if __name__ == "__main__":
    main()
