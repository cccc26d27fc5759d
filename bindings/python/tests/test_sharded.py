"""A head with distributed classes, against the composition of all classes in one process, in ``float64``.

The processes of each world size are started once, and run all checks with that size.
"""

import os
import socket
import traceback

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import softmargin  # noqa: E402
import torch.distributed as dist  # noqa: E402
import torch.multiprocessing as processes  # noqa: E402
from softmargin.torch import _composed  # noqa: E402
from softmargin.torch._composed import rows as composed_rows  # noqa: E402
from softmargin.torch._sharded import ShardedMarginHead  # noqa: E402

pytestmark = pytest.mark.skipif(not dist.is_available(), reason="this build of PyTorch has no torch.distributed")

# Importing PyTorch takes seconds: a fork server does it once for all processes.
START = "forkserver" if "forkserver" in processes.get_all_start_methods() else "spawn"
if START == "forkserver":
    processes.get_context(START).set_forkserver_preload(["torch.distributed.checkpoint", "softmargin", "pytest"])
CLASSES, WIDTH = 11, 5
SIZES = [4, 0, 7, 2]
"""Rows of each process."""
COUNTS = [3, 5, 100, 7, 0, 1, 20, 4, 5, 6, 7]
PRESETS = [loss["name"] for loss in softmargin.losses()]
MARGIN = {"kind": "score", "value": "per-sample"}
ANGLE_OF_INNER = {
    "kind": "angle",
    "times": 1.0,
    "plus": {"one": 0.4},
    "minus": {"one": 0.1},
    "beyond-pi": "continue",
    "gradient": "exact",
}
CASES = {
    **{name: (name, {}) for name in PRESETS},
    "label smoothing": ("normface", {"label_smoothing": 0.1, "z_loss": 0.05}),
    "learned pairs": ("normface", {"spec": {"comparison": {"kind": "each-pair", "gate": "softplus"}}}),
    "ring": ("am-softmax", {"spec": {"regularizer": {"kind": "ring", "weight": 0.3, "radius": 1.5}}}),
    "incay": ("cross-entropy", {"spec": {"regularizer": {"kind": "feature-incay", "weight": 0.3}}}),
    "per sample": ("normface", {"spec": {"margin": MARGIN}}),
    "weighted": ("arcface", {"class_weights": np.linspace(0.5, 2, CLASSES), "ignored_label": -1}),
    "logit": ("cross-entropy", {"spec": {"margin": {"kind": "logit", "value": {"one": 0.5}}}}),
    "angle of inner products": ("cross-entropy", {"spec": {"geometry": {"bias": False}, "margin": ANGLE_OF_INNER}}),
    "against zero with a learned scale": (
        "normface",
        {"spec": {"comparison": {"kind": "against-zero", "gate": "softplus"}}},
    ),
}


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def begin(rank, world_size, port, check, arguments, answers):
    """Runs a process: the traceback of what ``check`` raises is sent back as text."""
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=world_size)
    try:
        check(rank, world_size, *arguments)
        answers.put(None)
    except BaseException:
        answers.put(f"rank {rank} of {world_size}\n{traceback.format_exc()}")
        # Other processes may wait for this one forever.
        os._exit(1)
    dist.destroy_process_group()


def in_processes(world_size, check, *arguments):
    context = processes.get_context(START)
    answers = context.SimpleQueue()
    given = (world_size, free_port(), check, arguments, answers)
    try:
        processes.start_processes(begin, given, nprocs=world_size, start_method=START)
    except Exception:
        while not answers.empty():
            answer = answers.get()
            if answer is not None:
                pytest.fail(answer)
        raise


def head_of(name, classes=CLASSES, **more):
    preset, arguments = CASES[name]
    if preset == "ldam":
        arguments = {"class_counts": COUNTS[:classes]}
    return ShardedMarginHead(WIDTH, classes, preset, dtype=torch.float64, seed=3, **arguments, **more)


def batch_of(head, world_size, seed=0):
    """Returns the rows of all processes, and their other inputs."""
    random = np.random.default_rng(seed)
    rows = sum(SIZES[:world_size])
    norm = 30 if head.loss.name in ("adaface", "magface") else 1
    x, target = norm * random.normal(size=(rows, WIDTH)), random.integers(0, head.num_classes, rows)
    if head.loss.spec.get("ignored-label") is not None:
        target[1] = -1
    extras = {"sample_weights": torch.tensor(random.uniform(0.5, 2, rows))}
    if "per-sample" in str(head.loss.spec["margin"]):
        extras["margins"] = torch.tensor(random.uniform(0, 0.5, rows))
    return torch.tensor(x), torch.tensor(target), extras


def own(world_size, rank):
    start = sum(SIZES[:rank])
    return slice(start, start + SIZES[rank])


def whole_of(head, state):
    """Returns the parameters of all classes, as leaves in one process."""
    weight = head.full_weight().requires_grad_()
    parameters = {}
    if head.bias is not None:
        parameters["bias"] = torch.zeros(len(weight), dtype=torch.float64, requires_grad=True)
    for name in ("scale", "radius"):
        if getattr(head, name) is not None:
            parameters[name] = getattr(head, name).detach().clone().requires_grad_()
    return weight, parameters


def assert_near(found, expected, what):
    size = expected.abs().max().item() if expected.numel() else 0.0
    off = (found - expected).abs().max().item() if expected.numel() else 0.0
    assert off <= 1e-10 * size + 1e-300, f"{what}: {off} of {size}"


def check_case(rank, world_size, name, reduction, classes=CLASSES):
    """Loss and gradients are those of all classes in one process."""
    head = head_of(name, classes)
    x, target, extras = batch_of(head, world_size)
    before = head.state
    mine, part = own(world_size, rank), x[own(world_size, rank)].clone().requires_grad_()
    of_mine = {key: value[mine] for key, value in extras.items()}
    loss = head(part, target[mine], reduction, **of_mine)
    loss.backward()
    weight, parameters = whole_of(head, before)
    whole = x.clone().requires_grad_()
    state = _composed.next_state(head.loss, before, whole, weight, target, **extras)
    inputs = {**parameters, **extras, "state": state}
    expected = _composed.batch_loss(head.loss, whole, weight, target, reduction, **inputs)
    expected.backward()
    assert_near(loss.detach(), expected.detach(), f"{name}: loss")
    assert_near(part.grad, whole.grad[mine], f"{name}: embeddings")
    first = head.first_class * head.sub_centers
    local = slice(first, first + len(head.weight))
    if len(head.weight):
        size = weight.grad.abs().max()
        assert (head.weight.grad - weight.grad[local]).abs().max() <= 1e-10 * size, f"{name}: weight"
    for key, parameter in parameters.items():
        found = getattr(head, key).grad
        assert_near(found, parameter.grad[local] if key == "bias" else parameter.grad, f"{name}: {key}")
    if state is not None:
        found = head.state
        assert found.pop("step") == 1 == head.step
        assert found == pytest.approx({key: value for key, value in state.items() if key != "step"})


def check_sample(rank, world_size, name):
    """A sampled step equals the step of a head that has only those classes."""
    head = head_of(name, sample_share=0.4)
    x, target, extras = batch_of(head, world_size)
    mine, part = own(world_size, rank), x[own(world_size, rank)].clone().requires_grad_()
    taken = head._sample(target) + head.first_class
    classes = [None] * world_size
    dist.all_gather_object(classes, taken.tolist())
    classes = torch.tensor(sum(classes, []))
    assert set(target.tolist()) <= set(classes.tolist()) and len(classes) < CLASSES
    loss = head(part, target[mine], **{key: value[mine] for key, value in extras.items()})
    loss.backward()
    weight, parameters = whole_of(head, None)
    few = softmargin.Loss(CASES[name][0], len(classes), **CASES[name][1])
    prototypes = (classes.unsqueeze(1) * head.sub_centers + torch.arange(head.sub_centers)).reshape(-1)
    whole = x.clone().requires_grad_()
    if "bias" in parameters:
        parameters["bias"] = parameters["bias"][prototypes]
    renumbered = torch.searchsorted(classes, target)
    expected = _composed.batch_loss(few, whole, weight[prototypes], renumbered, **parameters, **extras)
    expected.backward()
    assert_near(loss.detach(), expected.detach(), f"{name}: loss")
    assert_near(part.grad, whole.grad[mine], f"{name}: embeddings")
    first = head.first_class * head.sub_centers
    assert_near(head.weight.grad, weight.grad[first : first + len(head.weight)], f"{name}: weight")
    assert head.step == 1
    head.eval()
    with torch.no_grad():
        full = _composed.batch_loss(head.loss, x, head.full_weight(), target, bias=_zeros(head))
        assert_near(head(x[mine], target[mine]), full, f"{name}: in evaluation")


def _zeros(head):
    return None if head.bias is None else torch.zeros(head.num_classes * head.sub_centers, dtype=torch.float64)


def check_scores(rank, world_size):
    for name in ("am-softmax", "sub-center-arcface", "cross-entropy"):
        head = head_of(name)
        x, _, _ = batch_of(head, world_size)
        found = head.scores(x[own(world_size, rank)])
        expected = _composed.scores(head.loss, x, head.full_weight(), _zeros(head))
        assert_near(found, expected[own(world_size, rank)], "scores")


def check_errors(rank, world_size):
    """An error in one process is raised in all, and none waits."""
    head = head_of("am-softmax")
    x = torch.zeros(2, WIDTH, dtype=torch.float64)
    for target, error, words in (
        (torch.tensor([0, CLASSES]), IndexError, f"target of row {1 + 2 * (world_size - 1)}"),
        (torch.tensor([0]), ValueError, "expected labels of length 2|expected one that fits"),
    ):
        good = torch.tensor([0, 1])
        with pytest.raises(error, match=words):
            head(x, target if rank == world_size - 1 else good)
    assert head.step == 0
    with pytest.raises(ValueError, match="to be alike"):
        head(x, good, sample_weights=torch.ones(2).double() if rank == 0 else None)
    with pytest.raises(ValueError, match="reduction"):
        head(x, good, "none")
    with pytest.raises(ValueError, match="sample_share"):
        head_of("am-softmax", sample_share=1.5)


def check_nothing(rank, world_size):
    """No rows anywhere: the loss 0, gradients 0."""
    for name in ("arcface", "cross-entropy", "crammer-singer"):
        head = head_of(name)
        x = torch.zeros(0, WIDTH, dtype=torch.float64, requires_grad=True)
        loss = head(x, torch.zeros(0, dtype=torch.int64))
        loss.backward()
        assert loss.item() == 0 and x.grad.shape == (0, WIDTH) and not head.weight.grad.any()


def check_training(rank, world_size):
    """The loss falls in some steps of training, also if the embeddings of a process need no gradient."""
    head = head_of("curricularface")
    x, target, _ = batch_of(head, world_size)
    x, target = x[own(world_size, rank)], target[own(world_size, rank)]
    embeddings = x.clone().requires_grad_(rank == 0)
    parameters = [head.weight, *([embeddings] if rank == 0 else [])]
    optimizer, losses = torch.optim.SGD(parameters, lr=0.02), []
    for _ in range(8):
        optimizer.zero_grad()
        loss = head(embeddings, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] and head.state["step"] == 8


CHUNKED = ["cross-entropy", "weston-watkins", "crammer-singer", "one-versus-rest", "magface", "curricularface"]
SAMPLED = ["am-softmax", "sub-center-arcface", "crammer-singer", "one-versus-rest", "label smoothing", "learned pairs"]
FEW = ["am-softmax", "crammer-singer", "one-versus-rest", "mv-softmax", "sub-center-arcface"]


def check_all(rank, world_size, path):
    for name in CASES:
        check_case(rank, world_size, name, "mean")
    composed_rows.MOST_SCORES = 12
    for name in CHUNKED:
        check_case(rank, world_size, name, "sum")
    composed_rows.MOST_SCORES = 1 << 22
    for name in SAMPLED:
        check_sample(rank, world_size, name)
    for name in FEW:
        # Fewer classes than processes.
        check_case(rank, world_size, name, "mean", classes=2)
        check_case(rank, world_size, name, "mean", classes=1)
    check_scores(rank, world_size)
    check_errors(rank, world_size)
    check_nothing(rank, world_size)
    check_training(rank, world_size)
    if world_size > min(WORLDS):
        check_load(rank, world_size, path / str(world_size - 1))
    check_save(rank, world_size, path / str(world_size))


def saved_heads():
    return {name: head_of(name) for name in ("curricularface", "cross-entropy", "normface", "sub-center-arcface")}


def check_save(rank, world_size, path):
    """Writes trained heads, and initial prototypes, to be read by another number of processes."""
    first = ShardedMarginHead(3, 2500, "sub-center-arcface", seed=5).full_weight()
    if rank == 0:
        path.mkdir()
        torch.save(first, path / "first.pt")
    dist.barrier()
    for name, head in saved_heads().items():
        with torch.no_grad():
            for parameter in head.parameters():
                # Every process has prototypes of its own, and the same scale.
                parameter += 0.5 if parameter.dim() == 0 else rank + torch.rand(parameter.shape)
        x, target, _ = batch_of(head, world_size)
        head(x[own(world_size, rank)], target[own(world_size, rank)])
        head.save(path / name)
        whole, bias = head.full_weight(), [None] * world_size
        dist.all_gather_object(bias, head.bias)
        if rank == 0 and head.bias is not None:
            torch.save(torch.cat([part.detach() for part in bias]), path / f"{name}.bias.pt")
        if rank == 0:
            torch.save((whole, head.state, head.step), path / f"{name}.pt")


def check_load(rank, world_size, path):
    """Reads heads that another number of processes has written."""
    first = ShardedMarginHead(3, 2500, "sub-center-arcface", seed=5).full_weight()
    assert torch.equal(first, torch.load(path / "first.pt")), "first prototypes depend on the number of processes"
    for name, head in saved_heads().items():
        head.load(path / name)
        whole, state, step = torch.load(path / f"{name}.pt")
        assert torch.equal(head.full_weight(), whole) and head.step == step == 1 and head.state == state
        if head.scale is not None:
            assert head.scale.item() == 20.5
        if head.bias is not None:
            bias = torch.load(path / f"{name}.bias.pt")
            assert torch.equal(head.bias.detach(), bias[head.first_class : head.first_class + head.num_local_classes])
        head.load_state_dict({**head.state_dict(), "weight": -whole})
        assert torch.equal(head.full_weight(), -whole)


WORLDS = [2, 3, 4]


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory):
    """Returns a directory where each world size saves heads for the next one to load."""
    return tmp_path_factory.mktemp("checkpoints")


@pytest.mark.parametrize("world_size", WORLDS)
def test_the_shards_are_the_whole(world_size, checkpoints):
    if world_size > min(WORLDS) and not (checkpoints / str(world_size - 1)).exists():
        pytest.fail(f"what {world_size - 1} processes write is read here: run all numbers, in order")
    in_processes(world_size, check_all, checkpoints)


def test_a_process_alone_is_told_what_it_lacks():
    with pytest.raises(RuntimeError, match="init_process_group"):
        ShardedMarginHead(WIDTH, CLASSES)
