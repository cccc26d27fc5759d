"""The losses of pytorch-metric-learning against the originals; a test for every row about them in COMPARE.md."""

import copy
import inspect
import io
import math

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("pytorch_metric_learning")

from pytorch_metric_learning import distances, reducers, regularizers
from pytorch_metric_learning import losses as theirs
from softmargin.torch import MarginHead
from softmargin.torch import metric_learning as ours

NAMES = ours.__all__
MARGINS = [name for name in NAMES if name != "NormalizedSoftmaxLoss"]
# (N, D, C)
SHAPES = [(1, 3, 2), (7, 5, 4), (33, 2, 3), (64, 16, 50)]
# Options with losses that are not small: the original's difference of logarithms is inaccurate near 0.
MILD = {
    "NormalizedSoftmaxLoss": {"temperature": 0.5},
    "CosFaceLoss": {"scale": 4},
    "ArcFaceLoss": {"scale": 4},
    "SubCenterArcFaceLoss": {"scale": 4},
}


def pair(name, d, c, dtype=torch.float64, **options):
    """Returns the original loss and ours, with the same prototypes."""
    torch.manual_seed(d * 1000 + c)
    their = getattr(theirs, name)(num_classes=c, embedding_size=d, **copy.deepcopy(options)).to(dtype)
    our = getattr(ours, name)(num_classes=c, embedding_size=d, **options).to(dtype)
    our.load_state_dict(their.state_dict())
    return their, our


def batch(n, d, c, dtype=torch.float64, seed=0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, dtype=dtype, generator=generator) * 1.7
    return x, torch.randint(c, (n,), generator=generator)


def results(loss, x, labels, *arguments):
    """Returns the value, and the gradients with respect to the embeddings and W."""
    x = x.clone().requires_grad_()
    loss.zero_grad()
    value = loss(x, labels, *arguments)
    value.backward()
    # The original has no gradient if its reducer selects no row.
    by_w = torch.zeros_like(loss.W) if loss.W.grad is None else loss.W.grad.clone()
    return value.detach(), x.grad, by_w


def assert_same(their, our, x, labels, *arguments, tolerance=1e-6):
    for expected, found in zip(results(their, x, labels, *arguments), results(our, x, labels, *arguments), strict=True):
        assert found.shape == expected.shape and found.dtype == expected.dtype
        size = expected.abs().max().clamp(min=1e-30)
        assert (found - expected).abs().max() <= tolerance * size, (found, expected)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_results_are_those_of_the_original(name, shape):
    n, d, c = shape
    assert_same(*pair(name, d, c, **MILD.get(name, {})), *batch(n, d, c))


@pytest.mark.parametrize("name", NAMES)
def test_results_with_the_default_numbers(name):
    assert_same(*pair(name, 6, 9), *batch(40, 6, 9))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("NormalizedSoftmaxLoss", {"temperature": 1.5}),
        ("CosFaceLoss", {"margin": 0.1, "scale": 7.5}),
        ("ArcFaceLoss", {"margin": 75, "scale": 3}),
        ("ArcFaceLoss", {"margin": 0, "scale": 3}),
        ("SphereFaceLoss", {"margin": 1, "scale": 0.5}),
        ("SphereFaceLoss", {"margin": 3}),
        ("LargeMarginSoftmaxLoss", {"margin": 2, "scale": 2}),
        ("LargeMarginSoftmaxLoss", {"margin": 5}),
        ("SubCenterArcFaceLoss", {"sub_centers": 1, "scale": 5}),
        ("SubCenterArcFaceLoss", {"sub_centers": 5, "margin": 10, "scale": 5}),
    ],
)
def test_results_with_other_numbers(name, options):
    # In two dimensions many targets lie past pi.
    assert_same(*pair(name, 2, 5, **options), *batch(60, 2, 5))


@pytest.mark.parametrize("name", NAMES)
def test_results_in_single_precision(name):
    their, our = pair(name, 6, 9, torch.float32, **MILD.get(name, {}))
    assert_same(their, our, *batch(40, 6, 9, torch.float32), tolerance=2e-5)


@pytest.mark.parametrize("name", NAMES)
def test_constructors_have_the_same_arguments(name):
    their, our = getattr(theirs, name), getattr(ours, name)
    expected, found = {}, {}
    for loss, arguments in ((their, expected), (our, found)):
        # Arguments that a class passes to its base class count as well.
        for cls in reversed(loss.__mro__):
            if "__init__" in vars(cls) and cls is not object:
                arguments.update(
                    (key, value.default)
                    for key, value in inspect.signature(cls.__init__).parameters.items()
                    if value.kind in (value.POSITIONAL_OR_KEYWORD, value.KEYWORD_ONLY) and key != "self"
                )
    missing = set(expected) - set(found)
    assert not missing
    own = {"margin_unit", "sub_centers"}
    for key in set(found) & set(expected) - own:
        assert found[key] == expected[key], key
    assert set(found) - set(expected) <= own


@pytest.mark.parametrize("name", NAMES)
def test_positional_arguments_and_first_prototypes(name):
    arguments = {"num_classes": 4, "embedding_size": 3} if name == "SubCenterArcFaceLoss" else {}
    for seed in range(2):
        torch.manual_seed(seed)
        their = getattr(theirs, name)(*([] if arguments else [4, 3]), **arguments)
        torch.manual_seed(seed)
        our = getattr(ours, name)(4, 3)
        assert torch.equal(their.W, our.W)
    half = {"weight_init_func": lambda w: torch.nn.init.constant_(w, 0.5)}
    assert (getattr(ours, name)(4, 3, **half).W == 0.5).all()


def test_margin_and_scale_by_position():
    their, our = theirs.ArcFaceLoss(4, 3, 20, 8).double(), ours.ArcFaceLoss(4, 3, 20, 8).double()
    our.load_state_dict(their.state_dict())
    assert_same(their, our, *batch(5, 3, 4))
    loss = ours.LargeMarginSoftmaxLoss(4, 3, 2, 5)
    assert (loss.margin, loss.scale) == (2, 5)
    assert ours.NormalizedSoftmaxLoss(4, 3, 0.1).temperature == 0.1


@pytest.mark.parametrize("name", NAMES)
def test_logits_and_their_gradients(name):
    their, our = pair(name, 5, 6)
    x, _ = batch(9, 5, 6)
    for loss in (their, our):
        loss.logits = loss.get_logits(x)
        loss.logits.cos().sum().backward()
    torch.testing.assert_close(our.logits, their.logits)
    torch.testing.assert_close(our.W.grad, their.W.grad)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("size", [3, 4])
def test_miners_weight_rows(name, size):
    their, our = pair(name, 5, 4, **MILD.get(name, {}))
    tuples = tuple(torch.tensor(indices) for indices in ([0, 0, 2], [1, 2, 2], [5, 5, 5], [6, 0, 1])[:size])
    assert_same(their, our, *batch(8, 5, 4), tuples)
    nothing = tuple(torch.zeros(0, dtype=torch.int64) for _ in range(size))
    assert_same(their, our, *batch(8, 5, 4), nothing)
    with pytest.raises(IndexError, match="indices_tuple"):
        our(*batch(8, 5, 4), (torch.tensor([8]),) * size)


@pytest.mark.parametrize(
    "reducer",
    [
        reducers.MeanReducer(),
        reducers.SumReducer(),
        reducers.AvgNonZeroReducer(),
        reducers.ThresholdReducer(low=1.0, high=3.0),
        reducers.ThresholdReducer(low=1e9),
        reducers.ClassWeightedReducer(torch.tensor([1.0, 2.0, 0.5, 0.0])),
        reducers.PerAnchorReducer(),
        reducers.MultipleReducers({"loss": reducers.SumReducer()}),
    ],
    ids=lambda reducer: type(reducer).__name__,
)
@pytest.mark.parametrize("regularized", [False, True])
def test_reducers_and_regularizers(reducer, regularized):
    options = {"reducer": reducer, "scale": 4}
    if regularized:
        options |= {"weight_regularizer": regularizers.RegularFaceRegularizer(), "weight_reg_weight": 0.3}
        options |= {"embedding_regularizer": regularizers.LpRegularizer(), "embedding_reg_weight": 0.1}
    for name in ("ArcFaceLoss", "SubCenterArcFaceLoss"):
        assert_same(*pair(name, 5, 4, **options), *batch(12, 5, 4))


@pytest.mark.parametrize("name", NAMES)
def test_regularizers_without_a_reducer(name):
    options = {"weight_regularizer": regularizers.LpRegularizer(power=2), "weight_reg_weight": 0.25}
    options |= {"embedding_regularizer": regularizers.ZeroMeanRegularizer()}
    assert_same(*pair(name, 5, 4, **options), *batch(12, 5, 4))


def test_reducer_that_does_nothing():
    options = {"reducer": reducers.DoNothingReducer(), "weight_regularizer": regularizers.LpRegularizer()}
    expected, found = (loss(*batch(6, 5, 4)) for loss in pair("CosFaceLoss", 5, 4, **options))
    assert found.keys() == expected.keys() and found["loss"]["reduction_type"] == "element"
    torch.testing.assert_close(found["loss"]["losses"], expected["loss"]["losses"])
    torch.testing.assert_close(found["weight_reg_loss"]["losses"], expected["weight_reg_loss"]["losses"])


def test_distances_that_are_supported():
    for distance in (distances.CosineSimilarity(), distances.DotProductSimilarity(normalize_embeddings=False)):
        assert_same(*pair("NormalizedSoftmaxLoss", 5, 4, temperature=0.7, distance=distance), *batch(12, 5, 4))
    for name in MARGINS:
        assert_same(*pair(name, 5, 4, distance=distances.CosineSimilarity(), scale=2), *batch(12, 5, 4))


def test_checkpoints_go_both_ways():
    for name in NAMES:
        their, our = pair(name, 5, 4)
        assert list(our.state_dict()) == list(their.state_dict()) == ["W"]
        file = io.BytesIO()
        torch.save({"loss": our.state_dict()}, file)
        file.seek(0)
        their.load_state_dict(torch.load(file)["loss"])
        assert torch.equal(their.W, our.W)


def test_weight_of_a_head_loads():
    head = MarginHead(5, 4, loss="am-softmax")
    for module, prefix in ((ours.CosFaceLoss(4, 5), ""), (torch.nn.ModuleDict({"a": ours.CosFaceLoss(4, 5)}), "a.")):
        module.load_state_dict({f"{prefix}weight": head.weight.detach()})
        loss = module if not prefix else module["a"]
        assert torch.equal(loss.weight, head.weight) and torch.equal(loss.W, head.weight.t())
    with pytest.raises(RuntimeError, match="found both"):
        loss.load_state_dict({"weight": head.weight.detach(), "W": head.weight.detach().t()})
    with pytest.raises(RuntimeError, match="size mismatch"):
        loss.load_state_dict({"weight": head.weight.detach().t()})


def test_copies_and_training():
    """An optimizer steps on a copy as on the original, state and layout included."""
    their, our = pair("ArcFaceLoss", 5, 4, scale=4)
    our = copy.deepcopy(our)
    assert our.weight.is_contiguous() and our.double().weight.is_contiguous()
    optimizers = [torch.optim.AdamW(loss.parameters(), lr=0.1) for loss in (their, our)]
    for step in range(3):
        for loss, optimizer in zip((their, our), optimizers, strict=True):
            optimizer.zero_grad()
            loss(*batch(8, 5, 4, seed=step)).backward()
            optimizer.step()
    torch.testing.assert_close(our.W, their.W)
    assert our.weight.is_contiguous()


def test_margins_that_are_set_later():
    their, our = pair("ArcFaceLoss", 5, 4, scale=4)
    assert our.margin == their.margin == pytest.approx(math.radians(28.6))
    their.margin = our.margin = 0.1
    their.scale = our.scale = 2.5
    assert_same(their, our, *batch(8, 5, 4))
    with pytest.raises(ValueError):
        our.margin = 4.0
    assert our.margin == 0.1
    assert_same(their, our, *batch(8, 5, 4))
    their, our = pair("NormalizedSoftmaxLoss", 5, 4)
    their.temperature = our.temperature = 0.6
    assert_same(their, our, *batch(8, 5, 4))
    with pytest.raises(ValueError, match="temperature"):
        our.temperature = 0


def test_what_both_reject():
    x, labels = batch(8, 5, 4)
    for loss in pair("CosFaceLoss", 5, 4):
        for arguments in (
            (x,),
            (x, labels[:-1]),
            (x, labels.view(-1, 1)),
            (x, labels, None, x.clone()),
            (x, labels, None, x, labels.clone()),
        ):
            with pytest.raises(ValueError):
                loss(*arguments)
        with pytest.raises(IndexError):
            loss(x, labels + 1)
        loss(x, labels, None, x, labels)


# One test for each row of COMPARE.md


def test_unit_of_an_angle_is_said():
    for name in ("ArcFaceLoss", "SubCenterArcFaceLoss"):
        their, degrees = pair(name, 5, 4, margin=20, scale=4)
        radians = getattr(ours, name)(
            num_classes=4, embedding_size=5, margin=math.radians(20), margin_unit="radians", scale=4
        ).double()
        radians.load_state_dict(their.state_dict())
        assert_same(their, degrees, *batch(8, 5, 4))
        assert_same(their, radians, *batch(8, 5, 4))
        with pytest.raises(ValueError, match="radians"):
            getattr(ours, name)(num_classes=4, embedding_size=5, margin_unit="radians")
        with pytest.raises(ValueError, match="margin_unit"):
            getattr(ours, name)(num_classes=4, embedding_size=5, margin_unit="grads")


def test_margins_out_of_range_are_rejected():
    for name, margin in (
        ("ArcFaceLoss", 200),
        ("ArcFaceLoss", -5),
        ("CosFaceLoss", -0.1),
        ("CosFaceLoss", 2.5),
        ("SphereFaceLoss", 0),
    ):
        with pytest.raises(ValueError):
            getattr(ours, name)(4, 5, margin=margin)
    for name in MARGINS:
        getattr(theirs, name)(num_classes=4, embedding_size=5, scale=-1)
        with pytest.raises(ValueError):
            getattr(ours, name)(4, 5, scale=-1)
    with pytest.raises(ValueError):
        ours.NormalizedSoftmaxLoss(4, 5, temperature=-1)


def test_multipliers_are_whole_numbers():
    assert theirs.SphereFaceLoss(4, 5, margin=2.7).margin == 2
    for name in ("SphereFaceLoss", "LargeMarginSoftmaxLoss"):
        with pytest.raises(ValueError, match="whole number"):
            getattr(ours, name)(4, 5, margin=2.7)
        assert_same(*pair(name, 5, 4, margin=3.0), *batch(8, 5, 4))


def test_numbers_of_sub_centers():
    theirs.SubCenterArcFaceLoss(num_classes=4, embedding_size=5, sub_centers=65)
    with pytest.raises(ValueError, match="sub"):
        ours.SubCenterArcFaceLoss(4, 5, sub_centers=65)
    with pytest.raises(KeyError):
        theirs.SubCenterArcFaceLoss(4, 5)


def test_small_losses_keep_their_digits():
    x = torch.tensor([[1.0, 0.0]])
    their, our = pair("NormalizedSoftmaxLoss", 2, 2, torch.float32)
    for loss in (their, our):
        with torch.no_grad():
            loss.W.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    assert their(x, torch.tensor([0])) == 0
    assert our(x, torch.tensor([0])).item() == pytest.approx(math.log1p(math.exp(-20)), rel=1e-6)


def test_embedding_near_its_prototype():
    """In single precision its cosine is 1, and the angle of an arc cosine 0."""
    for name in ("ArcFaceLoss", "SubCenterArcFaceLoss"):
        their, our = pair(name, 4, 4, torch.float32, scale=4, **({"sub_centers": 1} if name.startswith("Sub") else {}))
        for loss in (their, our):
            with torch.no_grad():
                loss.W.copy_(torch.eye(4))
        x, label = torch.tensor([[1.0, 1e-4, 0.0, 0.0]]), torch.tensor([0])
        lost, found = results(their, x, label)[1], results(our, x, label)[1]
        exact = results(their.double(), x.double(), label)[1]
        assert abs(lost[0, 1] / exact[0, 1] - 1) > 0.5
        assert abs(found[0, 1] / exact[0, 1] - 1) < 1e-5


def test_vanished_embedding():
    x = torch.zeros(1, 4, dtype=torch.float64)
    their, our = pair("CosFaceLoss", 4, 3)
    assert results(their, x, torch.tensor([0]))[1].abs().max() > 1e9
    assert (results(our, x, torch.tensor([0]))[1] == 0).all()
    their, our = pair("LargeMarginSoftmaxLoss", 4, 3)
    assert (results(their, x, torch.tensor([0]))[1] == 0).all()
    value, by_x, _ = results(our, x, torch.tensor([0]))
    assert value == pytest.approx(math.log(3)) and 0 < by_x.abs().max() < 10


def test_nan_is_an_error():
    x, labels = batch(4, 5, 4)
    x[2, 1] = math.nan
    their, our = pair("CosFaceLoss", 5, 4)
    assert their(x, labels).isnan()
    with pytest.raises(ValueError, match="2"):
        our(x, labels)


def test_labels_that_are_ignored():
    x, labels = batch(8, 5, 4)
    labels[3] = -100
    assert_same(*pair("NormalizedSoftmaxLoss", 5, 4, temperature=0.7), x, labels)
    their, our = pair("CosFaceLoss", 5, 120)
    assert their(x, labels).isfinite()
    with pytest.raises(IndexError):
        our(x, labels)


def test_labels_of_other_integer_types():
    x, labels = batch(8, 5, 4)
    for name in NAMES:
        their, our = pair(name, 5, 4)
        with pytest.raises(RuntimeError):
            their(x, labels.int())
        assert our(x, labels.int()) == our(x, labels)
    with pytest.raises(TypeError, match="integers"):
        our(x, labels.double())


def test_batch_of_no_rows():
    x, labels = torch.zeros(0, 5, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    for name in NAMES:
        their, our = pair(name, 5, 4)
        assert their(x, labels).isnan()
        value, _, by_w = results(our, x, labels)
        assert value == 0 and (by_w == 0).all()


def test_parameter_keeps_its_precision():
    x, labels = batch(8, 5, 4)
    their, our = (cls(num_classes=4, embedding_size=5, scale=4) for cls in (theirs.CosFaceLoss, ours.CosFaceLoss))
    our.load_state_dict(their.state_dict())
    expected, found = their(x, labels), our(x, labels)
    found.backward()
    assert found.dtype == torch.float64 and found.item() == pytest.approx(expected.item(), rel=1e-12)
    assert their.W.dtype == torch.float64 and our.W.dtype == our.W.grad.dtype == torch.float32
    their(x.half(), labels)
    assert their.W.dtype == torch.float16


def test_half_precision_is_widened():
    x, labels = batch(8, 5, 4)
    for dtype in (torch.float16, torch.bfloat16):
        their, our = pair("CosFaceLoss", 5, 4, dtype, scale=4)
        assert their(x.to(dtype), labels).dtype == dtype
        value, by_x, by_w = results(our, x.to(dtype), labels)
        assert value.dtype == torch.float32 and by_x.dtype == by_w.dtype == dtype
        exact = copy.deepcopy(our).double()(x.to(dtype).double(), labels)
        assert value.item() == pytest.approx(exact.item(), rel=1e-5)


def test_second_derivatives_are_rejected():
    for loss, is_supported in zip(pair("CosFaceLoss", 5, 4), (True, False), strict=True):
        x, labels = batch(8, 5, 4)
        x.requires_grad_()
        (gradient,) = torch.autograd.grad(loss(x, labels), x, create_graph=True)
        if is_supported:
            gradient.sum().backward()
        else:
            with pytest.raises(RuntimeError):
                gradient.sum().backward()


def test_layout_of_the_prototypes():
    their, our = pair("CosFaceLoss", 5, 4)
    assert their.W.is_contiguous() and not our.W.is_contiguous() and our.weight.is_contiguous()
    assert our.weight.data_ptr() == our.W.data_ptr()
    with pytest.raises(RuntimeError):
        our.W.view(-1)
    assert torch.equal(our.W.reshape(-1), their.W.view(-1))
    # A tensor in the other layout gives the same.
    our.W.data = their.W.data.clone()
    assert_same(their, our, *batch(8, 5, 4))


def test_other_distances_are_rejected():
    dot = distances.DotProductSimilarity
    for distance in (distances.LpDistance(), dot(p=1), dot(power=2)):
        theirs.NormalizedSoftmaxLoss(4, 5, distance=distance)
        with pytest.raises(ValueError, match="distance"):
            ours.NormalizedSoftmaxLoss(4, 5, distance=distance)
    for name in MARGINS:
        with pytest.raises(ValueError, match="distance"):
            getattr(ours, name)(4, 5, distance=distances.DotProductSimilarity())


def test_statistics_are_rejected():
    with pytest.raises(ValueError, match="collect_stats"):
        ours.ArcFaceLoss(4, 5, collect_stats=True)
    ours.ArcFaceLoss(4, 5, collect_stats=False)


def test_weights_of_no_regularizer_are_rejected():
    for name in ("weight", "embedding"):
        theirs.CosFaceLoss(4, 5, **{f"{name}_reg_weight": 2})
        with pytest.raises(ValueError, match=f"{name}_reg_weight"):
            ours.CosFaceLoss(4, 5, **{f"{name}_reg_weight": 2})


def test_overridden_inner_methods_are_rejected():
    type("Theirs", (theirs.ArcFaceLoss,), {"scale_logits": lambda self, logits, *_: logits})
    with pytest.raises(TypeError, match="scale_logits"):
        type("Ours", (ours.ArcFaceLoss,), {"scale_logits": lambda self, logits, *_: logits})
    type("Ours", (ours.ArcFaceLoss,), {"forward": ours.ArcFaceLoss.forward})


def outlier_problem():
    their, our = pair("SubCenterArcFaceLoss", 6, 5)
    x, labels = batch(60, 6, 5)
    labels[labels == 3] = 2  # a class without rows
    return their, our, x, labels


def test_outliers():
    their, our, x, labels = outlier_problem()
    for threshold in (30, 75, 110):
        expected, expected_centers = their.get_outliers(x, labels, threshold)
        found, centers = our.get_outliers(x, labels, threshold)
        assert found.tolist() == expected.tolist()
        present = labels.unique()
        assert torch.equal(centers[:, present], expected_centers[:, present])
        assert centers.shape == expected_centers.shape


def test_outliers_alone():
    their, our, x, labels = outlier_problem()
    assert isinstance(their.get_outliers(x, labels, return_dominant_centers=False), tuple)
    assert torch.equal(our.get_outliers(x, labels, return_dominant_centers=False), our.get_outliers(x, labels)[0])


def test_centers_of_classes_without_rows():
    # The original leaves them as the memory was.
    _, our, x, labels = outlier_problem()
    assert (our.get_outliers(x, labels)[1][:, 3] == 0).all()


def test_no_outliers_are_whole_numbers_too():
    their, our, x, labels = outlier_problem()
    assert their.get_outliers(x, labels, 180)[0].dtype == torch.float32
    found = our.get_outliers(x, labels, 180)[0]
    assert found.dtype == torch.int64 and len(found) == 0


def test_outliers_of_labels_that_are_no_classes():
    their, our, x, labels = outlier_problem()
    labels[0] = 7
    their.get_outliers(x, labels)
    with pytest.raises(IndexError, match="labels"):
        our.get_outliers(x, labels)
