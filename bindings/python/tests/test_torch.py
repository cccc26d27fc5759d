"""The PyTorch module: gradients, precisions, graphs, saving, and errors."""

import copy
import io
import pickle

import numpy as np
import pytest
import softmargin
from conftest import NAMES

torch = pytest.importorskip("torch")

from softmargin.torch import MarginHead, head_loss, linear_cross_entropy, score_loss
from softmargin.torch._functional import composed


def make_head(name, classes=9, width=6, **arguments):
    if name == "ldam":
        arguments["class_counts"] = [5 + 7 * k for k in range(classes)]
    return MarginHead(width, classes, loss=name, dtype=torch.float64, **arguments)


def batch(classes=9, width=6, rows=5, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, width, generator=generator, dtype=dtype, requires_grad=True)
    return x, torch.randint(classes, (rows,), generator=generator)


# Losses whose gradients are by design not the derivatives of the value.
SURROGATES = {name for name in NAMES if softmargin.losses(name)["spec"]["margin"].get("gradient") == "straight-through"}


@pytest.mark.parametrize("reduction", ["mean", "none"])
@pytest.mark.parametrize("name", NAMES)
def test_gradcheck(name, reduction):
    torch.manual_seed(1)
    head = make_head(name).eval()  # the state stays as it is
    x, target = batch()
    parameters = [p for p in (head.weight, head.bias, head.scale, head.radius) if p is not None]

    def loss(x, *given):
        named = iter(given)
        bias, scale, radius = (None if p is None else p for p in (head.bias, head.scale, head.radius))
        weight = next(named)
        bias, scale, radius = (None if p is None else next(named) for p in (bias, scale, radius))
        return head_loss(
            head._head, x, weight, target, bias=bias, scale=scale, radius=radius, state=head.state, reduction=reduction
        )

    if name in SURROGATES:
        assert torch.isfinite(torch.autograd.grad(loss(x, *parameters).sum(), [x, *parameters])[0]).all()
        return
    if name == "adaface":
        x = x.detach()  # its margin depends on the norm of x, through which no gradient flows, as published
    assert torch.autograd.gradcheck(loss, (x, *parameters), atol=1e-5, rtol=1e-3)


def test_single_precision_is_the_fused_kernel():
    head = MarginHead(32, 500, loss="arcface")
    x, target = batch(500, 32, 20, dtype=torch.float32)
    loss = head(x, target)
    loss.backward()
    kernel = softmargin.Head("arcface", 500, 32)
    value, of_x, of_weight = kernel.value_and_grad(x.detach().numpy(), head.weight.detach().numpy(), target.numpy())
    assert loss.item() == value
    np.testing.assert_array_equal(x.grad.numpy(), of_x)
    np.testing.assert_array_equal(head.weight.grad.numpy(), of_weight)


def test_a_graph_may_be_used_twice_and_gradients_added_up():
    head = MarginHead(64, 20_000)
    x, target = batch(20_000, 64, 4, dtype=torch.float32)
    loss = head(x, target)
    loss.backward(retain_graph=True)
    once = head.weight.grad.clone()
    (3 * loss).backward()
    torch.testing.assert_close(head.weight.grad, 4 * once)
    first, second = batch(20_000, 64, 4, 1, torch.float32), batch(20_000, 64, 4, 2, torch.float32)
    head.weight.grad = None
    (head(*first) + 2 * head(*second)).backward()
    both = head.weight.grad.clone()
    head.weight.grad = None
    for (x, target), factor in ((first, 1), (second, 2)):
        (factor * head(x, target)).backward()  # accumulated
    torch.testing.assert_close(head.weight.grad, both)


def test_second_derivatives_are_rejected():
    head, (x, target) = make_head("normface"), batch()
    (slope,) = torch.autograd.grad(head(x, target), x, create_graph=True)
    with pytest.raises(RuntimeError, match="differentiate twice"):
        slope.sum().backward()


def test_half_precisions_and_autocast():
    torch.manual_seed(0)
    head, (x, target) = MarginHead(16, 50), batch(50, 16, 8, dtype=torch.float32)
    want = head(x, target)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = head((x @ torch.eye(16)), target)
    assert half.dtype == torch.float32 and half.item() == pytest.approx(want.item(), rel=2e-2)
    half.backward()
    assert head.weight.grad.dtype == torch.float32
    small = copy.deepcopy(head).to(torch.bfloat16)
    small.zero_grad()
    loss = small(x.detach().to(torch.bfloat16), target)
    loss.backward()
    assert small.weight.grad.dtype == torch.bfloat16 and loss.item() == pytest.approx(want.item(), rel=2e-2)


@pytest.mark.parametrize("name", ["am-softmax", "curricularface"])
def test_compiled_networks_are_right(name):
    torch.manual_seed(0)
    network, head = torch.nn.Linear(6, 6), make_head(name).float()
    x, target = batch(dtype=torch.float32)
    want = copy.deepcopy(head)(network(x), target)
    step = torch.compile(lambda x, target: head(network(x), target), backend="eager")
    got = step(x, target)
    torch.testing.assert_close(got, want)
    got.backward()
    assert network.weight.grad is not None


@pytest.mark.parametrize("name", ["normface", "adaface", "sub-center-arcface", "cross-entropy", "curricularface"])
def test_saving_copying_and_pickling(name):
    head, (x, target) = make_head(name), batch()
    head(x, target).backward()
    file = io.BytesIO()
    torch.save(head.state_dict(), file)
    file.seek(0)
    loaded = make_head(name)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for other in (loaded, copy.deepcopy(head), pickle.loads(pickle.dumps(head))):
        assert other.state == head.state
        assert other.eval()(x, target).item() == copy.deepcopy(head).eval()(x, target).item()


def test_state_moves_in_training_alone():
    head, (x, target) = make_head("curricularface"), batch()
    with torch.no_grad():
        head(x, target)
    assert head.state["step"] == 0
    head(x, target)
    kernel = softmargin.Head("curricularface", 9, 6)
    want = kernel.update(kernel.loss.initial_state(), x.detach().numpy(), head.weight.detach().numpy(), target.numpy())
    assert head.state["step"] == 1
    assert head.state["target-mean"] == pytest.approx(want["target-mean"], rel=1e-5)
    head.eval()(x, target)
    assert head.state["step"] == 1


def test_state_keeps_its_precision():
    head, (x, target) = MarginHead(6, 9, loss="curricularface"), batch(dtype=torch.float32)
    half = copy.deepcopy(head).to(torch.bfloat16)
    half.weight.data = head.weight.data.to(torch.bfloat16)
    for _ in range(3):
        half(x.detach().to(torch.bfloat16), target)
    assert half.state["step"] == 3 and half.state["target-mean"] != float(
        torch.tensor(half.state["target-mean"]).bfloat16()
    )
    assert half.loss_averages.dtype == torch.float64 and half.half().float().state == half.state
    before = head.state
    with pytest.raises(ValueError, match="reduction"):
        head(x, target, reduction="average")
    assert head.state == before  # an error leaves the state as it was
    head.state = {**before, "step": 7}
    assert head.state["step"] == 7
    empty = MarginHead(6, 9, loss="adaface", seed=5, device="meta").to_empty(device="cpu")
    empty.reset_parameters()
    assert empty.state == softmargin.Loss("adaface", 9).initial_state(seed=5)


def test_averages_are_averaged_over_the_steps():
    """Averaging a model's buffers averages the averages of the loss."""
    head, means = MarginHead(6, 9, loss="curricularface"), []
    averaged = torch.optim.swa_utils.AveragedModel(head, use_buffers=True)
    for seed in range(3):
        head(*batch(dtype=torch.float32, seed=seed))
        averaged.update_parameters(head)
        means.append(head.state["target-mean"])
    assert len(set(means)) == 3
    assert averaged.module.state["target-mean"] == pytest.approx(np.mean(means), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", ["curricularface", "adaface", "elasticface"])
def test_the_state_is_that_of_the_kernel(name, dtype):
    head, (x, target) = MarginHead(6, 9, loss=name, dtype=dtype, seed=4), batch(dtype=dtype)
    kernel, state = softmargin.Head(name, 9, 6), softmargin.Loss(name, 9).initial_state(seed=4)
    for _ in range(2):
        head(x, target)
        state = kernel.update(state, x.detach().numpy(), head.weight.detach().numpy(), target.numpy())
        state["step"] += 1
        assert head.state == state


def test_buffers_of_labels_may_be_written_anew_before_the_backward_pass():
    head, (x, target) = make_head("am-softmax"), batch()
    weights = torch.ones(5, dtype=torch.float64)
    want = torch.autograd.grad(head(x, target, sample_weights=weights, reduction="none").sum(), x)[0]
    rows = head(x, target, sample_weights=weights, reduction="none")
    target.zero_()
    weights.zero_()
    torch.testing.assert_close(torch.autograd.grad(rows.sum(), x)[0], want)


def test_frozen_prototypes_get_no_gradient():
    head, (x, target) = make_head("am-softmax"), batch()
    head.weight.requires_grad_(False)
    head(x, target).backward()
    assert head.weight.grad is None and x.grad is not None


def test_factors_that_are_not_finite_make_gradients_that_are_not():
    head, (x, target) = make_head("am-softmax"), batch()
    rows = head(x, target, reduction="none")
    assert torch.autograd.grad(rows, x, torch.full_like(rows, torch.inf), retain_graph=True)[0].isnan().all()
    assert not torch.autograd.grad(rows, x, torch.zeros_like(rows))[0].any()


def test_transforms_of_functions_are_rejected():
    head, (x, target) = make_head("am-softmax"), batch()
    with pytest.raises(RuntimeError, match=r"torch\.func"):
        torch.func.grad(lambda x: head(x, target))(x.detach())


def test_a_loss_object_is_used_as_it_is():
    loss = softmargin.Loss("arcface", 9, margin=0.3)
    assert MarginHead(6, 9, loss=loss).loss is loss
    with pytest.raises(TypeError, match="loss"):
        MarginHead(6, 8, loss=loss)
    with pytest.raises(TypeError, match="margin: .* beside a softmargin.Loss"):
        MarginHead(6, 9, loss=loss, margin=0.2)


def test_score_loss_by_norms(rng):
    scores = torch.tensor(rng.uniform(-1, 1, (4, 7)), requires_grad=True)
    norms = torch.tensor(rng.uniform(20.0, 90.0, 4), requires_grad=True)
    loss, target = softmargin.Loss("magface", 7), torch.tensor([0, 3, 6, 2])
    assert torch.autograd.gradcheck(lambda z, n: score_loss(loss, z, target, embedding_norms=n), (scores, norms))


def test_scores_are_differentiable_and_those_of_the_kernel():
    for name in ("cross-entropy", "arcface", "sub-center-arcface", "sphereface"):
        head, (x, _) = make_head(name), batch()
        scores = head.scores(x)
        bias = None if head.bias is None else head.bias.detach().numpy()
        want = head._head.scores(x.detach().numpy(), head.weight.detach().numpy(), bias)
        np.testing.assert_allclose(scores.detach().numpy(), want, rtol=1e-12, atol=1e-12)
        scores.sum().backward()
        assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("reduction", ["mean", "mean-or-nan", "sum", "none"])
@pytest.mark.parametrize("name", ["arcface", "magface", "cross-entropy", "normface"])
def test_other_devices_have_the_same_results(name, reduction):
    """The code for other devices, run on the CPU."""
    head, (x, target) = make_head(name), batch()
    parts = {"bias": head.bias, "scale": head.scale, "radius": head.radius}
    inputs = [x, *head.parameters()]
    want = head(x, target, reduction=reduction).sum()
    got = composed(head.loss, x, head.weight, target, reduction, **parts).sum()
    torch.testing.assert_close(got, want)
    gradients = (torch.autograd.grad(loss, inputs) for loss in (got, want))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_it_trains():
    torch.manual_seed(0)
    centers = torch.randn(10, 8)
    target = torch.arange(200) % 10
    x = centers[target] + 0.3 * torch.randn(200, 8)
    network = torch.nn.Sequential(torch.nn.Linear(8, 16), torch.nn.ReLU(), torch.nn.Linear(16, 8))
    head = MarginHead(8, 10, loss="arcface", scale=16, margin=0.2)
    optimizer = torch.optim.AdamW([*network.parameters(), *head.parameters()], 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        loss = head(network(x), target)
        loss.backward()
        optimizer.step()
    assert (head.scores(network(x)).argmax(1) == target).float().mean() > 0.97


def test_sample_weights_and_margins_of_rows():
    head, (x, target) = make_head("am-softmax"), batch()
    rows = head(x, target, reduction="none")
    weights = torch.tensor([0.0, 1.0, 2.0, 0.5, 1.0])
    assert head(x, target, sample_weights=weights, reduction="sum").item() == pytest.approx(
        (rows * weights).sum().item()
    )
    each = make_head("am-softmax", spec={"margin": {"kind": "score", "value": "per-sample"}})
    each.load_state_dict(head.state_dict())
    assert each(x, target, margins=torch.full((5,), 0.35)).item() == pytest.approx(head(x, target).item())


def test_score_loss_is_the_loss_of_scores(rng):
    scores = torch.tensor(rng.uniform(-1, 1, (4, 7)), requires_grad=True)
    loss = softmargin.Loss("arcface", 7)
    target = torch.tensor([0, 3, 6, 2])
    score_loss(loss, scores, target, reduction="sum").backward()
    np.testing.assert_array_equal(
        scores.grad.numpy(), loss.value_and_grad(scores.detach().numpy(), target.numpy(), "sum")[1]
    )
    assert torch.autograd.gradcheck(lambda z: score_loss(loss, z, target, reduction="none"), (scores,))


@pytest.mark.parametrize(
    ("kind", "words", "call"),
    [
        (TypeError, "tensor", lambda head, x, t: head(x.detach().numpy(), t)),
        (TypeError, "float64", lambda head, x, t: head(x.double(), t)),
        (TypeError, "floating", lambda head, x, t: head(x.long(), t)),
        (IndexError, "target", lambda head, x, t: head(x, t + 9)),
        (IndexError, "target", lambda head, x, t: head(x, t - 9)),
        (ValueError, "embeddings: ", lambda head, x, t: head(x[:, :3], t)),
        (ValueError, "targets", lambda head, x, t: head(x, t[:2])),
        (TypeError, "integers", lambda head, x, t: head(x, t.float())),
        (ValueError, "detach", lambda head, x, t: head(x, t, sample_weights=torch.ones(5, requires_grad=True))),
        (ValueError, "reduction", lambda head, x, t: head(x, t, reduction="average")),
        (ValueError, "reduction", lambda head, x, t: MarginHead(6, 9, reduction="average")),
        (ValueError, "NaN", lambda head, x, t: head(x * torch.nan, t)),
        (TypeError, "margins", lambda head, x, t: MarginHead(6, 9, margins=0.3)),
    ],
)
def test_errors_say_what_was_expected(kind, words, call):
    head, (x, target) = make_head("am-softmax").float(), batch(dtype=torch.float32)
    with pytest.raises(kind, match=words):
        call(head, x, target)


@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("kind", ["classes", "probabilities", "one", "one distribution"])
def test_linear_cross_entropy_has_the_results_of_pytorch(reduction, smoothing, weighted, kind):
    torch.manual_seed(0)
    rows = (7,) if kind in ("classes", "probabilities") else ()
    x = torch.randn(*rows, 5, dtype=torch.float64, requires_grad=True)
    w, b = (torch.randn(*shape, dtype=torch.float64, requires_grad=True) for shape in ((20, 5), (20,)))
    target = torch.rand(*rows, 20, dtype=torch.float64) if "pro" in kind or "dis" in kind else torch.randint(20, rows)
    if kind == "classes":
        target[2] = -100
    weight = torch.rand(20, dtype=torch.float64) if weighted else None
    options = {"weight": weight, "reduction": reduction, "label_smoothing": smoothing}
    want = torch.nn.functional.cross_entropy(torch.nn.functional.linear(x, w, b), target, **options)
    got = linear_cross_entropy(x, w, target, linear_bias=b, **options)
    torch.testing.assert_close(got, want)
    factor = torch.rand_like(want) - 0.5
    for ours, theirs in zip(
        torch.autograd.grad(got, (x, w, b), factor), torch.autograd.grad(want, (x, w, b), factor), strict=True
    ):
        torch.testing.assert_close(ours, theirs)


def test_linear_cross_entropy_of_half_precision():
    torch.manual_seed(0)
    x, w = (torch.randn(*shape).bfloat16().requires_grad_() for shape in ((6, 8), (12, 8)))
    for target, options in (
        (torch.randint(12, (6,)), {}),
        (torch.rand(6, 12).softmax(1).bfloat16(), {}),
        (torch.randint(12, (6,)), {"weight": torch.rand(12).bfloat16(), "label_smoothing": 0.1}),
    ):
        got = linear_cross_entropy(x, w, target, **options)
        want = torch.nn.functional.cross_entropy(x @ w.T, target, **options)
        assert got.dtype == torch.bfloat16 and got.item() == pytest.approx(want.item(), rel=3e-2)
        got.backward()
    head = MarginHead(8, 12, loss="cross-entropy")
    assert torch.isfinite(head(x.float(), torch.rand(6, 12).softmax(1).bfloat16()))


def test_linear_cross_entropy_of_nothing_is_nan_as_in_pytorch():
    x, w, target = torch.randn(2, 3), torch.randn(4, 3), torch.tensor([-100, -100])
    assert torch.isnan(linear_cross_entropy(x, w, target))
    assert linear_cross_entropy(x, w, torch.tensor([0, 7]), ignore_index=7) == linear_cross_entropy(
        x[:1], w, torch.tensor([0])
    )


def test_linear_cross_entropy_says_what_it_does_not_do():
    x, w = torch.randn(2, 3), torch.randn(4, 3)
    for words, arguments in (
        ("linear_weight", (x, torch.randn(4, 2, 3), torch.zeros(2, 2, dtype=torch.long))),
        ("needs no gradient|detach", (x, w, torch.rand(2, 4, requires_grad=True))),
        ("target", (x, w, torch.rand(2, 5))),
        ("sample weights|distribution|probabilit", (x, w, -torch.rand(2, 4))),
    ):
        with pytest.raises(ValueError, match=words):
            linear_cross_entropy(*arguments)
    with pytest.raises(ValueError, match="NaN"):
        linear_cross_entropy(x * torch.nan, w, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match="ignore_index"):
        linear_cross_entropy(x, w, torch.rand(2, 4), ignore_index=-1)
    for options in ({}, {"weight": torch.ones(4)}, {"label_smoothing": 1.0}):
        with pytest.raises(IndexError, match="target"):
            linear_cross_entropy(x, w, torch.tensor([0, 4]), **options)
    with pytest.raises(ValueError, match="options"):
        linear_cross_entropy(x, w, torch.tensor([0, 1]), options=object())
