"""AUROC of known against unknown classes, by the score and by the probability of the best class.

Each loss is trained twice with the other defaults: on the digits 0 to 6, with 7 to 9 unknown, and on 100 characters of
Omniglot's background set, with 4 images each of 100 characters of its evaluation set unknown. Every third known digit,
and every fifth known character image, is in the test set.

    cargo build --release
    python bench/unknown.py target/release/softmargin omniglot.tar.xz    # about two minutes on two cores
"""

import bisect
import gzip
import json
import pathlib
import random
import shutil
import struct
import subprocess
import sys
import tarfile
import tempfile

import machine

LOSSES = ["arcface", "am-softmax", "normface", "cross-entropy", "one-versus-rest", "lse-hinge"]
DIGITS = machine.ROOT / "crates/softmargin-data/assets/digits.csv.gz"


def main():
    command, omniglot = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2]
    lines = ["AUROC (%) of known against unknown classes, by two values of the best class", machine.description()]
    lines.append(f"{'data':<10}{'loss':<17}{'score':>7}{'probability':>13}{'unknown at p = 1':>18}")
    with tempfile.TemporaryDirectory() as folder:
        home = pathlib.Path(folder)
        problems = [("digits", *digits(home / "digits"), ["--epochs", "10"]),
                    ("omniglot", *characters(home / "omniglot", omniglot), ["--epochs", "20", "--image-size", "28"])]
        for name, data, known, unknown, flags in problems:
            for loss in LOSSES:
                run = home / f"{name}-{loss}"
                call([command, "train", "--data", data, "--loss", loss, "--seed", "1", "--out", run, "--quiet", *flags])
                values = [best_classes(command, run, inputs) for inputs in (known, unknown)]
                score, probability = (100 * auroc(*([one[key] for one in part] for part in values))
                                      for key in ("score", "probability"))
                certain = sum(one["probability"] == 1 for one in values[1]) / len(values[1])
                lines.append(f"{name:<10}{loss:<17}{score:>7.1f}{probability:>13.1f}{100 * certain:>16.1f} %")
    machine.save("unknown", lines)


def best_classes(command, run, inputs):
    """Returns the best class of each sample, with score and probability."""
    output = json.loads(call([command, "predict", run, inputs, "--json", "--quiet"]))
    return [one["classes"][0] for one in output["predictions"]]


def call(arguments):
    return subprocess.run(arguments, check=True, stdout=subprocess.PIPE).stdout


def auroc(known, unknown):
    """Returns the probability that a known sample has a higher value than an unknown one; ties count half."""
    unknown = sorted(unknown)
    below = sum(bisect.bisect_left(unknown, value) + bisect.bisect_right(unknown, value) for value in known)
    return below / (2 * len(known) * len(unknown))


def digits(folder):
    """Writes the training data, known test images and unknown images, and returns their paths."""
    rows = [[int(value) for value in line.split(",")] for line in gzip.open(DIGITS, "rt").read().split()]
    known = [row for row in rows if row[64] < 7]
    train, test = [row for at, row in enumerate(known) if at % 3], known[::3]
    (folder / "data").mkdir(parents=True)
    for name, part in [("train", train), ("t10k", test)]:
        idx(folder / f"data/{name}-images-idx3-ubyte", [len(part), 8, 8], pixels(part))
        idx(folder / f"data/{name}-labels-idx1-ubyte", [len(part)], bytes(row[64] for row in part))
    unknown = [row for row in rows if row[64] >= 7]
    return folder / "data", npy(folder / "known.npy", test), npy(folder / "unknown.npy", unknown)


def pixels(rows):
    return bytes(value * 255 // 16 for row in rows for value in row[:64])


def idx(path, shape, content):
    path.write_bytes(bytes([0, 0, 8, len(shape)]) + struct.pack(f">{len(shape)}I", *shape) + content)


def npy(path, rows):
    header = f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({len(rows)}, 8, 8), }}\n".encode()
    path.write_bytes(b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + pixels(rows))
    return path


def characters(folder, archive):
    """Does the same as `digits` with images of Omniglot."""
    with tarfile.open(archive) as files:
        files.extractall(folder, filter="data")
    chosen = random.Random(1)
    for part, kept in [("background", 20), ("evaluation", 4)]:
        for character in chosen.sample(sorted((folder / "omniglot" / part).iterdir()), 100):
            for at, image in enumerate(sorted(character.iterdir())[:kept]):
                place = "unknown" if part == "evaluation" else "known" if at % 5 == 4 else "train"
                target = folder / place / character.name / image.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(image, target)
                if place == "known":
                    copy = folder / "data/test" / character.name / image.name
                    copy.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copy(image, copy)
    shutil.move(folder / "train", folder / "data/train")
    return folder / "data", folder / "known", folder / "unknown"


if __name__ == "__main__":
    main()
