"""Public signatures: every argument has a name and a type, in one order everywhere."""

import dataclasses
import importlib
import inspect

import pytest
import softmargin
from softmargin._head import HeadInputs
from softmargin._loss import LossOptions, ScoreInputs

torch = pytest.importorskip("torch")
pytest.importorskip("sklearn")

from softmargin.torch import MarginHead, ShardedMarginHead, head_loss, score_loss

MODULES = ["", ".measures", ".smooth", ".sklearn", ".torch", ".torch.metric_learning", ".torch.insightface"]
HIDDEN = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)


def functions(module):
    """Yields the public functions of a module, and the constructors and public methods that its classes define."""
    for name in module.__all__:
        member = getattr(module, name)
        members = vars(member) if inspect.isclass(member) else {name: member}
        for below, value in members.items():
            if inspect.isfunction(value) and (below in ("__init__", "__call__") or not below.startswith("_")):
                yield f"{module.__name__}.{name}.{below}", value


@pytest.mark.parametrize("name", MODULES)
def test_every_argument_has_a_name_and_a_type(name):
    module = importlib.import_module(f"softmargin{name}")
    found = dict(functions(module))
    assert found
    for path, function in found.items():
        signature = inspect.signature(function)
        assert signature.return_annotation is not inspect.Signature.empty, path
        for parameter in signature.parameters.values():
            assert parameter.kind not in HIDDEN, f"{path}: {parameter}"
            assert parameter.name == "self" or parameter.annotation is not inspect.Parameter.empty, (
                f"{path}: {parameter}"
            )


HEAD, LOSS = softmargin.Head, softmargin.Loss


@pytest.mark.parametrize(
    ("kind", "functions", "missing"),
    [
        (LossOptions, [LOSS.__init__, HEAD.__init__, MarginHead.__init__, ShardedMarginHead.__init__], set()),
        (ScoreInputs, [LOSS.__call__, LOSS.value_and_grad, LOSS.evaluate], set()),
        (ScoreInputs, [LOSS.update], {"state"}),
        (ScoreInputs, [score_loss], {"radius"}),
        (HeadInputs, [HEAD.__call__, HEAD.value_and_grad, HEAD.evaluate, HEAD.step], set()),
        (HeadInputs, [HEAD.update], {"state"}),
        (HeadInputs, [head_loss], {"sampled"}),
    ],
)
def test_keywords_have_one_order(kind, functions, missing):
    names = [field.name for field in dataclasses.fields(kind) if field.name not in missing]
    for function in functions:
        parameters = inspect.signature(function).parameters
        assert [name for name in parameters if name in names] == names
        assert all(parameters[name].kind is inspect.Parameter.KEYWORD_ONLY for name in names)
