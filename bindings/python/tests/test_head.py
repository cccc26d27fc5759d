"""Heads: against losses of whole score matrices, the fused step, memory, and errors."""

import gc
import os
import pickle
import signal
import threading
import time

import numpy as np
import pytest
import softmargin
from conftest import NAMES, make_loss


def whole(head, x, weight, target, **extras):
    """Returns the loss of a head, computed from its scores."""
    loss = head.loss
    more = {key: value for key, value in extras.items() if key != "bias"}
    if loss.needs_embedding_norms:
        more["embedding_norms"] = np.linalg.norm(x, axis=1)
    if loss.needs_weight_norms:
        more["weight_norms"] = np.linalg.norm(weight, axis=1)
    return loss(head.scores(x, weight, extras.get("bias")), target, **more)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", NAMES)
def test_a_head_is_the_loss_of_its_scores(name, dtype, rng):
    loss = make_loss(name, 11)
    head = softmargin.Head(loss, 11, 6)
    x, weight = rng.normal(size=(5, 6)).astype(dtype), rng.normal(size=(head.num_prototypes, 6)).astype(dtype)
    target, extras = rng.integers(0, 11, 5), {}
    if loss.spec["geometry"].get("bias"):
        extras["bias"] = rng.normal(size=11).astype(dtype)
    if loss.initial_state() is not None:
        extras["state"] = head.update(loss.initial_state(), x, weight, target)
    result = head.evaluate(x, weight, target, **extras)
    assert result.value == pytest.approx(
        whole(head, x, weight, target, **extras), rel=1e-4 if dtype == np.float32 else 1e-10
    )
    assert result.grad_embeddings.dtype == dtype and result.grad_weight.shape == weight.shape
    assert (result.predictions == head.scores(x, weight, extras.get("bias")).argmax(axis=1)).all()


@pytest.mark.parametrize("name", ["am-softmax", "cross-entropy", "normface", "crammer-singer"])
def test_gradients_are_the_derivatives_of_the_value(name, rng):
    head = softmargin.Head(name, num_classes=6, embedding_size=4)
    x, weight, target = rng.normal(size=(3, 4)), rng.normal(size=(6, 4)), [0, 5, 2]
    extras = {"bias": np.zeros(6)} if head.loss.spec["geometry"].get("bias") else {}
    _, of_x, of_weight = head.value_and_grad(x, weight, target, **extras)
    step = 1e-6
    for array, gradient in ((x, of_x), (weight, of_weight)):
        for place in [(0, 0), (2, 3), (1, 2)]:
            kept = array[place]
            array[place] = kept + step
            above = head(x, weight, target, **extras)
            array[place] = kept - step
            below = head(x, weight, target, **extras)
            array[place] = kept
            assert (above - below) / (2 * step) == pytest.approx(gradient[place], rel=1e-4, abs=1e-7)


def test_modes_agree(rng):
    x, target = rng.normal(size=(40, 16)).astype(np.float32), rng.integers(0, 300, 40)
    weight = rng.normal(size=(300, 16)).astype(np.float32)
    want = softmargin.Head("arcface", 300, 16).value_and_grad(x, weight, target)
    for mode in ("store", "recompute", "row-chunked", "unfused"):
        for got, wanted in zip(
            softmargin.Head("arcface", 300, 16, mode=mode).value_and_grad(x, weight, target), want, strict=True
        ):
            np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-5)
    half = softmargin.Head("arcface", 300, 16, precision="bf16").value_and_grad(x, weight, target)
    assert np.linalg.norm(half[2] - want[2]) < 2e-2 * np.linalg.norm(want[2])


def test_a_fused_step_is_a_gradient_and_a_step(rng):
    for kind, numbers in (("sgd", {"momentum": 0.9, "nesterov": True}), ("adamw", {"weight_decay": 0.1})):
        head = softmargin.Head("am-softmax", 30, 8)
        weight = head.initial_weight(seed=1)
        other = weight.copy()
        fused = softmargin.Optimizer(kind, weight, lr=0.1, **numbers)
        plain = softmargin.Optimizer(kind, weight, lr=0.1, **numbers)
        for _ in range(3):
            x, target = rng.normal(size=(4, 8)).astype(np.float32), rng.integers(0, 30, 4)
            result = head.step(x, weight, target, fused)
            again, other_of_x, of_weight = head.value_and_grad(x, other, target)
            plain.apply(other, of_weight)
            assert result.value == again and result.grad_weight is None
            np.testing.assert_array_equal(result.grad_embeddings, other_of_x)
            np.testing.assert_array_equal(weight, other)
        resumed = softmargin.Optimizer(kind, weight, lr=1.0, **numbers)
        resumed.load_state_dict(pickle.loads(pickle.dumps(fused.state_dict())))
        head.step(x, weight, target, fused)
        head.step(x, other, target, resumed)
        np.testing.assert_array_equal(weight, other)


def test_sampled_classes_alone_are_touched(rng):
    head = softmargin.Head("arcface", 200, 8)
    weight, target = head.initial_weight(), np.array([3, 150])
    sampled = head.sample(target, 0.1, seed=1, step=2)
    assert {3, 150} <= set(sampled.classes.tolist()) and len(sampled.classes) == 22
    x, before = rng.normal(size=(2, 8)).astype(np.float32), weight.copy()
    head.step(x, weight, target, softmargin.Optimizer("sgd", weight, lr=1.0), sampled=sampled)
    changed = np.flatnonzero((weight != before).any(axis=1))
    assert set(changed) <= set(sampled.classes.tolist()) and len(changed) > 2


def test_memory_of_gradients_is_reused_only_when_no_array_refers_to_it(rng):
    """A gradient of 4 MiB or more keeps its memory while the array or a view of it exists."""
    head = softmargin.Head("am-softmax", 20_000, 64)
    x, weight = rng.normal(size=(2, 64)).astype(np.float32), head.initial_weight()
    softmargin.release_memory()
    address = lambda array: array.__array_interface__["data"][0]  # noqa: E731
    first = head.value_and_grad(x, weight, [0, 1])[2]
    kept, place, copy = first[5:10].T, address(first), first.copy()
    del first
    gc.collect()
    second = head.value_and_grad(x, weight, [2, 3])[2]
    assert address(second) != place
    np.testing.assert_array_equal(kept, copy[5:10].T)
    del kept
    gc.collect()
    third = head.value_and_grad(x, weight, [0, 1])[2]
    assert address(third) == place
    np.testing.assert_array_equal(third, copy)


def test_the_gil_is_released_during_the_computation(rng):
    head = softmargin.Head("am-softmax", 40_000, 128)
    x, weight, target = (
        rng.normal(size=(128, 128)).astype(np.float32),
        head.initial_weight(),
        rng.integers(0, 40_000, 128),
    )
    ticks, done = [], threading.Event()

    def tick():
        while not done.is_set():
            ticks.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=tick)
    thread.start()
    start = time.perf_counter()
    head.value_and_grad(x, weight, target)
    end = time.perf_counter()
    done.set()
    thread.join()
    assert sum(start < at < end for at in ticks) >= 3


def test_an_interrupt_is_raised(rng):
    head = softmargin.Head("am-softmax", 40_000, 128)
    x, weight, target = (
        rng.normal(size=(128, 128)).astype(np.float32),
        head.initial_weight(),
        rng.integers(0, 40_000, 128),
    )
    threading.Timer(0.02, lambda: signal.raise_signal(signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        for _ in range(200):
            head.value_and_grad(x, weight, target)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_threads_of_its_own(rng):
    head = softmargin.Head("am-softmax", 5000, 64)
    x, weight, target = rng.normal(size=(32, 64)).astype(np.float32), head.initial_weight(), rng.integers(0, 5000, 32)
    want = head(x, weight, target)
    child = os.fork()
    if child == 0:
        os._exit(0 if all(head(x, weight, target) == want for _ in range(2)) else 1)
    for _ in range(300):
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            break
        time.sleep(0.1)
    else:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        pytest.fail("the child did not answer")
    assert os.waitstatus_to_exitcode(status) == 0


def test_memory_that_cannot_be_allocated_is_an_exception():
    with pytest.raises(MemoryError, match="optimizer"):
        softmargin.Optimizer("adamw", (10**9, 10**6), lr=0.1)
    head = softmargin.Head("am-softmax", 10**9, 1)
    row, column = np.zeros((1, 1), np.float32), np.zeros((1, 1), np.float32)
    many, tall = np.broadcast_to(row, (10**9, 1)), np.broadcast_to(column, (10**9, 1))
    with pytest.raises(MemoryError, match="scores"):
        head.scores(many, tall)


def test_predictions_are_the_largest_scores(rng, monkeypatch):
    monkeypatch.setattr(softmargin._head, "MOST_SCORES", 100)
    head = softmargin.Head("sub-center-arcface", 40, 8)
    x, weight = rng.normal(size=(7, 8)).astype(np.float32), head.initial_weight()
    np.testing.assert_array_equal(head.predict(x, weight), head.scores(x, weight).argmax(axis=1))


def test_optimizers_are_saved_by_numpy(tmp_path):
    weight = np.ones((3, 2), np.float32)
    optimizer = softmargin.Optimizer("adamw", weight, lr=0.1)
    optimizer.apply(weight, weight.copy())
    np.savez(tmp_path / "state.npz", **optimizer.state_dict())
    other = softmargin.Optimizer("adamw", weight, lr=0.5)
    with np.load(tmp_path / "state.npz") as saved:
        other.load_state_dict(saved)
    assert (other.steps, other.lr) == (1, 0.1)
    with pytest.raises(ValueError, match="second"):
        other.load_state_dict({"kind": "adamw", "steps": 1, "first": weight, "lr": 0.1})


def test_optimizers_are_pickled(rng):
    head = softmargin.Head("am-softmax", 30, 8)
    weight = head.initial_weight()
    optimizer = softmargin.Optimizer("adamw", weight, lr=0.1, row_rates=np.linspace(0, 1, 30), weight_decay=0.2)
    x = rng.normal(size=(4, 8)).astype(np.float32)
    head.step(x, weight, [0, 1, 2, 3], optimizer)
    other, of_other = pickle.loads(pickle.dumps(optimizer)), weight.copy()
    head.step(x, weight, [4, 5, 6, 7], optimizer)
    head.step(x, of_other, [4, 5, 6, 7], other)
    np.testing.assert_array_equal(weight, of_other)
    with pytest.raises(ValueError, match="adamw"):
        softmargin.Optimizer("sgd", weight, lr=0.1, momentum=0.9).load_state_dict(optimizer.state_dict())


def test_heads_are_pickled_with_their_options():
    head = softmargin.Head("arcface", 9, 4, mode="recompute", statistics=True, margin=0.2)
    other = pickle.loads(pickle.dumps(head))
    x, weight = np.ones((1, 4), np.float32), head.initial_weight(seed=2)
    assert other.evaluate(x, weight, [1]).entropy == head.evaluate(x, weight, [1]).entropy
    assert repr(other) == repr(head)


@pytest.mark.parametrize(
    ("kind", "words", "call"),
    [
        (TypeError, "embedding_size", lambda head, x, w: softmargin.Head("arcface", 5)),
        (ValueError, "embedding_size", lambda head, x, w: softmargin.Head("arcface", 5, 0)),
        (TypeError, "embedding_size", lambda head, x, w: softmargin.Head("arcface", 5, 4.7)),
        (ValueError, "memory", lambda head, x, w: softmargin.Head("arcface", 5, 4, memory=-1)),
        (ValueError, "seed", lambda head, x, w: head.sample([0], 0.5, seed=-1)),
        (ValueError, "mode", lambda head, x, w: softmargin.Head("arcface", 5, 4, mode="fast")),
        (ValueError, "memory", lambda head, x, w: softmargin.Head("arcface", 5, 4, memory=10)),
        (
            TypeError,
            "loss",
            lambda head, x, w: softmargin.Head(softmargin.Loss("arcface", 5), 5, 4, scale=3),
        ),
        (ValueError, "embeddings: ", lambda head, x, w: head(x[:, :3], w, [0])),
        (ValueError, "weight", lambda head, x, w: head(x, w[:4], [0])),
        (TypeError, "weight", lambda head, x, w: head(x, w.astype(np.float64), [0])),
        (IndexError, "target", lambda head, x, w: head(x, w, [5])),
        (ValueError, "targets", lambda head, x, w: head(x, w, [0, 1])),
        (ValueError, "bias", lambda head, x, w: head(x, w, [0], bias=np.zeros(5))),
        (ValueError, "share", lambda head, x, w: head.sample([0], 0.0)),
        (TypeError, "ignore_index", lambda head, x, w: softmargin.Head("arcface", 5, 4, ignore_index=-100)),
        (TypeError, "classes", lambda head, x, w: softmargin.Head(softmargin.Loss("arcface", 5), 6, 4)),
        (IndexError, "ignored_label", lambda head, x, w: head(x, w, [-100])),
        (ValueError, r"labels \(N\)", lambda head, x, w: head(x, w, [[0]])),
        (ValueError, "class_counts", lambda head, x, w: softmargin.Head("ldam", 5, 4)),
        (TypeError, "sampled", lambda head, x, w: head(x, w, [0], sampled=[1])),
        (TypeError, "optimizer", lambda head, x, w: head.step(x, w, [0], None)),
        (
            TypeError,
            "weight",
            lambda head, x, w: head.step(x, w.tolist(), [0], softmargin.Optimizer("sgd", w, lr=1.0)),
        ),
        (
            ValueError,
            "optimizer",
            lambda head, x, w: head.step(x, w, [0], softmargin.Optimizer("sgd", (4, 4), lr=1.0)),
        ),
        (ValueError, "kind", lambda head, x, w: softmargin.Optimizer("lion", w, lr=1.0)),
        (TypeError, "momentum", lambda head, x, w: softmargin.Optimizer("adamw", w, lr=1.0, momentum=0.9)),
        (TypeError, "betas", lambda head, x, w: softmargin.Optimizer("sgd", w, lr=1.0, betas=(0.8, 0.9))),
        (ValueError, "momentum", lambda head, x, w: softmargin.Optimizer("sgd", w, lr=1.0, momentum=1.5)),
        (ValueError, r"betas\[1\]", lambda head, x, w: softmargin.Optimizer("adamw", w, lr=1.0, betas=(0.9, 1.5))),
        (ValueError, "eps", lambda head, x, w: softmargin.Optimizer("adamw", w, lr=1.0, eps=-1.0)),
        (ValueError, "lr", lambda head, x, w: softmargin.Optimizer("adamw", w, lr=-1.0)),
    ],
)
def test_errors_say_what_was_expected(kind, words, call):
    head = softmargin.Head("arcface", 5, 4)
    with pytest.raises(kind, match=words):
        call(head, np.ones((1, 4), np.float32), head.initial_weight())


def test_a_step_rejects_a_read_only_weight():
    head = softmargin.Head("arcface", 5, 4)
    weight = head.initial_weight()
    weight.flags.writeable = False
    with pytest.raises(ValueError, match="read-only"):
        head.step(np.ones((1, 4), np.float32), weight, [0], softmargin.Optimizer("sgd", weight, lr=1.0))
