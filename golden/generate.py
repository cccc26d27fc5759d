"""Generates the golden values of this folder: inputs, and expected values rounded to f64.

    pip install mpmath
    python golden/generate.py            writes golden/*.json
    python golden/generate.py --check    only compares; the exit code is 1 if a file differs

README.md describes the keys. The formulas are evaluated with 50 digits (`exact_losses.py`). Each gradient is an
analytic formula. If the case is differentiable, it is compared with a numerical derivative of a second, simpler
implementation of the loss (`plain_losses.py`). No file is written if a gradient disagrees.
"""

import json
import pathlib
import sys

import mpmath
from cases import presets
from measures_and_smooth import measures, smooth
from mpmath import mp

HERE = pathlib.Path(__file__).resolve().parent
FORMAT = 1
INPUTS = "every input number is exactly representable in f32; see README.md"



def header(first, formula, source):
    return first | {
        "formula": formula, "source": source, "generator": "golden/generate.py",
        "mpmath": mpmath.__version__, "digits": mp.dps, "inputs": INPUTS,
    }


def text(fields):
    """Returns JSON with one array element per line, so that differences are visible case by case."""
    dump = lambda v: json.dumps(v, separators=(",", ":"), allow_nan=False)
    lines = []
    for key, value in fields.items():
        if isinstance(value, list):
            inner = ",\n".join("  " + dump(v) for v in value)
            lines.append(f' "{key}": [\n{inner}\n ]')
        else:
            lines.append(f' "{key}": {dump(value)}')
    return "{\n" + ",\n".join(lines) + "\n}\n"


def files():
    for p in presets():
        fields = header({"format": FORMAT, "preset": p.name}, p.formula, p.source)
        fields |= {"defaults": p.defaults, "anneal": p.anneal, "cases": p.cases}
        fields |= {"heads": p.heads or None, "updates": p.updates or None, "draws": p.draws or None}
        print(f"{p.name}: {len(p.cases)} cases, {p.checked} derivatives verified")
        yield f"{p.name}.json", text(fields)
    formula = "I(x) = -ln p; H(p) = -sum p ln p; H(p, q) = -sum p ln q; D(p||q) = sum p ln(p/q); 0 ln 0 = 0"
    yield "measures.json", text(header({"format": FORMAT}, formula, "Shannon 1948; Kullback and Leibler 1951") | {"cases": measures()})
    vectors, scalars = smooth()
    formula = "T ln sum e^(z/T); softmax(z/T); ln softmax(z/T); ln(1 + e^x); 1 / (1 + e^-x)"
    yield "smooth.json", text(header({"format": FORMAT}, formula, "textbook") | {"vectors": vectors, "scalars": scalars})


def main():
    check = sys.argv[1:] == ["--check"]
    written = list(files())
    different = 0
    for name, body in written:
        path = HERE / name
        if check:
            if not path.exists() or path.read_text() != body:
                print(f"{name} differs")
                different += 1
        else:
            path.write_text(body)
    print(f"{len(written)} files, {sum(len(b) for _, b in written)} bytes")
    sys.exit(1 if different else 0)


if __name__ == "__main__":
    main()
