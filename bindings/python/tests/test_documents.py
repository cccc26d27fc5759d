"""Runs the code in the documents: the README's quick start, and the examples."""

import importlib
import importlib.util
import inspect
import re
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```python\n(.*?)```", re.DOTALL)


@pytest.mark.parametrize("folder", [PACKAGE.parents[1], PACKAGE], ids=["project", "package"])
def test_the_quick_start_runs(folder):
    pytest.importorskip("torch")
    blocks = BLOCK.findall((folder / "README.md").read_text(encoding="utf-8"))
    assert len(blocks) == 1
    names = {}
    exec(compile(blocks[0], "README.md", "exec"), names)
    assert names["loss"] > 0.0


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


def public(module):
    """Yields the public members of a module, and the methods and properties that its classes define."""
    for name in module.__all__:
        member = getattr(module, name)
        yield f"{module.__name__}.{name}", member
        if inspect.isclass(member):
            for below, value in vars(member).items():
                if not below.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{module.__name__}.{name}.{below}", value


MODULES = ["", ".measures", ".smooth", ".sklearn", ".torch", ".torch.metric_learning", ".torch.insightface"]


@pytest.mark.parametrize("name", MODULES)
def test_everything_public_is_described(name):
    needs = {".sklearn": "sklearn"}.get(name, "torch" if name.startswith(".torch") else "numpy")
    pytest.importorskip(needs)
    module = importlib.import_module(f"softmargin{name}")
    assert module.__doc__
    members = [(path, member) for path, member in public(module) if callable(member) or isinstance(member, property)]
    assert members
    assert [path for path, member in members if not inspect.getdoc(member)] == []


def test_every_row_of_the_comparison_names_a_test_that_is_there():
    folder = Path(__file__).parent
    lines = (folder.parent / "COMPARE.md").read_text().splitlines()
    # The other tables have two columns.
    rows = [line for line in lines if line.count(" | ") >= 3 and not line.startswith("| what |")]
    tests = {path.name: path.read_text() for path in folder.glob("test_*.py")}
    assert len(rows) > 35
    for row in rows:
        named = re.findall(r"`(test_\w+)`", row)
        assert named, row
        for name in named:
            assert any(f"\ndef {name}(" in text for text in tests.values()), name
