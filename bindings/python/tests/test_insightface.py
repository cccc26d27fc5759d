"""InsightFace's margins against plain references; a test for every row about them in COMPARE.md."""

import math

import pytest

torch = pytest.importorskip("torch")

import softmargin
from softmargin.torch import score_loss
from softmargin.torch.insightface import ArcFace, CombinedMarginLoss, CosFace

# (N, C)
SHAPES = [(1, 2), (6, 4), (40, 30)]


def reference(logits, labels, s, m2, m3, threshold=0.0):
    """Returns the changed logits, and the derivative of each, computed one number at a time."""
    answer, derivative = torch.empty_like(logits), torch.empty_like(logits)
    for i, row in enumerate(logits.tolist()):
        for j, cosine in enumerate(row):
            is_target = labels[i].item() == j
            derivative[i, j] = s
            if threshold > 0 and cosine > threshold and not is_target:
                cosine = derivative[i, j] = 0.0
            if is_target and m3 > 0:
                cosine -= m3
            elif is_target:
                cosine = math.cos(math.acos(cosine) + m2)
            answer[i, j] = s * cosine
    return answer, derivative


def batch(n, c, seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.rand(n, c, dtype=dtype, generator=generator) * 2 - 1
    return logits, torch.randint(c, (n,), generator=generator)


MARGINS = [
    (CombinedMarginLoss(64, 1.0, 0.5, 0.0), (64, 0.5, 0.0)),
    (CombinedMarginLoss(8, 1, 2.0, 0), (8, 2.0, 0.0)),
    (CombinedMarginLoss(8, 1.0, 0.0, 0.0), (8, 0.0, 0.0)),
    (CombinedMarginLoss(16, 1.0, 0.0, 0.4), (16, 0.0, 0.4)),
    (CombinedMarginLoss(8, 1.0, 0.5, 0.0, interclass_filtering_threshold=0.4), (8, 0.5, 0.0, 0.4)),
    (CombinedMarginLoss(8, 1.0, 0.0, 0.2, 0.1), (8, 0.0, 0.2, 0.1)),
    (ArcFace(), (64, 0.5, 0.0)),
    (ArcFace(s=10, margin=0.3), (10, 0.3, 0.0)),
    (CosFace(), (64, 0.0, 0.4)),
    (CosFace(s=10, m=0.1), (10, 0.0, 0.1)),
]
each_margin = pytest.mark.parametrize(("margin", "numbers"), MARGINS, ids=[repr(margin) for margin, _ in MARGINS])


@each_margin
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("is_column", [False, True])
def test_logits_and_gradients(margin, numbers, shape, is_column):
    logits, labels = batch(*shape)
    labels[::3] = -1
    expected, derivative = reference(logits, labels, *numbers)
    logits.requires_grad_()
    found = margin(logits, labels.view(-1, 1) if is_column else labels)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    direction = torch.randn_like(found)
    found.backward(direction)
    torch.testing.assert_close(logits.grad, direction * derivative, rtol=1e-12, atol=1e-12)


@each_margin
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
def test_loss_is_the_cross_entropy_of_the_logits(margin, numbers, shape, reduction):
    """The fused kernel has the same value and gradient."""
    logits, labels = batch(*shape)
    weights = torch.arange(1.0, shape[0] + 1, dtype=torch.float64)
    by_hand, by_kernel = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    rows = torch.nn.functional.cross_entropy(margin(by_hand, labels), labels, reduction="none") * weights
    expected = {"mean": rows.sum() / weights.sum(), "sum": rows.sum(), "none": rows}[reduction]
    found = margin.loss(by_kernel, labels, sample_weights=weights, reduction=reduction)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    direction = torch.linspace(-1, 1, expected.numel(), dtype=torch.float64).view(expected.shape)
    expected.backward(direction)
    found.backward(direction)
    torch.testing.assert_close(by_kernel.grad, by_hand.grad, rtol=1e-9, atol=1e-12)


def test_single_precision():
    logits, labels = batch(40, 30, dtype=torch.float32)
    margin = CombinedMarginLoss(64, 1.0, 0.5, 0.0)
    expected, _ = reference(logits, labels, 64, 0.5, 0.0)
    torch.testing.assert_close(margin(logits, labels), expected)
    torch.testing.assert_close(
        margin.loss(logits, labels), torch.nn.functional.cross_entropy(expected, labels), rtol=1e-5, atol=1e-6
    )


# One test for each row of COMPARE.md


def test_logits_are_not_changed():
    logits, labels = batch(6, 4)
    for margin, _ in MARGINS:
        before = logits.clone()
        margin(logits, labels)
        margin.loss(logits, labels)
        assert torch.equal(logits, before)


def test_logits_may_be_leaves():
    logits, labels = batch(6, 4)
    logits.requires_grad_()
    for margin in (CosFace(), CombinedMarginLoss(64, 1.0, 0.0, 0.4)):
        margin(logits, labels).sum().backward()
    assert (logits.grad == 128).all()


def test_negatives_are_multiplied_and_no_more():
    logits, labels = batch(40, 30, dtype=torch.float32)
    found = ArcFace(s=64)(logits, labels)
    negatives = torch.ones_like(found, dtype=torch.bool).scatter(1, labels.view(-1, 1), False)
    assert torch.equal(found[negatives], (logits * 64)[negatives])
    # InsightFace converts every logit to an angle and back, which loses digits.
    assert not torch.equal((logits.arccos().cos() * 64)[negatives], (logits * 64)[negatives])


def test_cosines_past_one():
    logits = torch.tensor([[1 + 1e-6, 1.5]], dtype=torch.float64)
    assert math.isnan(torch.arccos(logits)[0, 0])
    found = ArcFace(s=2, margin=0.5)(logits, torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[2 * math.cos(0.5), 3.0]], dtype=torch.float64))
    assert ArcFace()(logits, torch.tensor([1])).isnan().tolist() == [[False, True]]
    with pytest.raises(ValueError):
        ArcFace().loss(logits, torch.tensor([1]))


@pytest.mark.parametrize(
    ("numbers", "named"),
    [
        ((0.9, 0.4, 0.15), "m1"),
        ((1.0, 0.3, 0.2), "m2"),
        ((0.5, 0.0, 0.4), "m1"),
        ((1.35, 0.0, 0.0), "m1"),
        ((1.0, 0.5, -0.1), "m2"),
    ],
)
def test_margins_without_effect_are_rejected(numbers, named):
    with pytest.raises(ValueError, match=f"{named}: .*combined-margin"):
        CombinedMarginLoss(64, *numbers)
    margin = CombinedMarginLoss(64, 1.0, 0.5, 0.0)
    margin.m1, margin.m2, margin.m3 = numbers
    with pytest.raises(ValueError, match=named):
        margin(*batch(6, 4))


@pytest.mark.parametrize(
    "make",
    [
        lambda: CombinedMarginLoss(0, 1.0, 0.5, 0.0),
        lambda: CombinedMarginLoss(64, 1.0, 28.6, 0.0),
        lambda: CombinedMarginLoss(64, 1.0, 0.0, -0.1),
        lambda: CombinedMarginLoss(64, 1.0, 0.5, 0.0, -1),
        lambda: ArcFace(margin=-0.1),
        lambda: ArcFace(margin=math.nan),
        lambda: CosFace(m=2.5),
        lambda: CosFace(s=math.inf),
    ],
)
def test_numbers_out_of_range_are_rejected(make):
    with pytest.raises(ValueError, match="expected"):
        make()


def test_labels_in_one_dimension_with_a_threshold():
    logits, labels = batch(6, 4)
    margin = CombinedMarginLoss(8, 1.0, 0.5, 0.0, 0.3)
    assert torch.equal(margin(logits, labels), margin(logits, labels.view(-1, 1)))
    with pytest.raises(ValueError, match="labels"):
        margin(logits, labels.view(1, -1))


def test_threshold_keeps_the_precision():
    logits, labels = batch(6, 4)
    for dtype in (torch.float16, torch.bfloat16):
        assert CombinedMarginLoss(8, 1.0, 0.5, 0.0, 0.3)(logits.to(dtype), labels).dtype == dtype


def test_labels_that_are_no_classes():
    logits, labels = batch(6, 4)
    for label in (-2, 4):
        labels[2] = label
        for call in (CosFace(), CosFace().loss):
            with pytest.raises(IndexError, match="labels"):
                call(logits, labels)
    with pytest.raises(TypeError, match="labels"):
        CosFace()(logits, labels.double())


def test_rows_without_a_class_do_not_count():
    logits, labels = batch(8, 4)
    labels[:3] = -1
    for margin, _ in MARGINS:
        torch.testing.assert_close(margin.loss(logits, labels), margin.loss(logits[3:], labels[3:]))
    assert CosFace().loss(logits, torch.full((8,), -1)) == 0


def test_a_threshold_filters_rows_without_a_class():
    logits = torch.tensor([[0.9, 0.1], [0.9, 0.8]])
    found = CombinedMarginLoss(2, 1.0, 0.0, 0.5, 0.3)(logits, torch.tensor([0, -1]))
    torch.testing.assert_close(found, torch.tensor([[0.8, 0.2], [0.0, 0.0]]))


def test_exact_gradients_of_earlier_versions():
    """They differentiated ``cos theta cos m - sin theta sin m``, and subtracted ``m sin(m)`` beyond pi."""
    logits, labels = batch(40, 30)
    by_hand, by_kernel = logits.clone().requires_grad_(), logits.clone().requires_grad_()
    target = by_hand[torch.arange(40), labels]
    enlarged = target * math.cos(0.5) - (1 - target**2).sqrt() * math.sin(0.5)
    enlarged = torch.where(target > math.cos(math.pi - 0.5), enlarged, target - math.sin(math.pi - 0.5) * 0.5)
    changed = by_hand.index_put((torch.arange(40), labels), enlarged) * 16
    expected = torch.nn.functional.cross_entropy(changed, labels)
    loss = softmargin.Loss("arcface", 30, scale=16, spec={"margin": {"plus": {"one": 0.5}, "beyond-pi": "extend"}})
    found = score_loss(loss, by_kernel, labels)
    torch.testing.assert_close(found, expected)
    expected.backward()
    found.backward()
    torch.testing.assert_close(by_kernel.grad, by_hand.grad)
    straight = logits.clone().requires_grad_()
    ArcFace(16, 0.5).loss(straight, labels).backward()
    assert not torch.allclose(straight.grad, by_kernel.grad)
