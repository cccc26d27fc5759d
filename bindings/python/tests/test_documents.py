"""What the documents show is run: the README's quick start, and the examples."""

import importlib.util
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


def test_the_quick_start_runs(capsys):
    pytest.importorskip("torch")
    blocks = BLOCK.findall((PACKAGE.parents[1] / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) == 1
    exec(compile(blocks[0], "README.md", "exec"), {})
    assert capsys.readouterr().out.startswith("loss ")


def example(name):
    spec = importlib.util.spec_from_file_location(name, PACKAGE / "examples" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_example_of_a_network():
    pytest.importorskip("torch")
    right, same = example("train_network").main()
    assert right > 0.98 and same > 0.85


def test_the_example_of_frozen_embeddings():
    assert example("frozen_embeddings").main(epochs=2) > 0.9
