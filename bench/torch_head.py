"""PyTorch process of head.py: runs one step of a linear classification head for each line on standard input.

    python torch_head.py --serve PEER LOSS N D C [precision=f32|bf16] [memory=fresh|kept]

PEER: eager, compile, linear (PyTorch's linear_cross_entropy), chunked (the same in chunks of rows with default
options), pml (pytorch-metric-learning), cce (cut-cross-entropy, device-independent implementation), softmargin (this
project's Python package, which reuses the memory of its gradients). LOSS: am-softmax, arcface or cross-entropy;
linear, chunked and cce support only cross-entropy, pml only the other two. A step computes the loss and its gradients
with respect to embeddings and prototypes. bf16 uses autocast. Memory `fresh`: no gradients exist before a step;
`kept`: they exist, are 0, and are added to.
"""

import contextlib
import ctypes
import json
import math
import os
import sys
import time

import torch
import torch.nn.functional as F

SCALE = {"am-softmax": 30.0, "arcface": 64.0, "cross-entropy": 1.0}
MARGIN = {"am-softmax": 0.35, "arcface": 0.5}


def composed_loss(loss, x, w, targets):
    if loss == "cross-entropy":
        return F.cross_entropy(x @ w.t(), targets)
    scores = F.normalize(x) @ F.normalize(w).t()
    rows, margin = torch.arange(len(targets)), MARGIN[loss]
    if loss == "am-softmax":
        scores[rows, targets] -= margin
    else:
        target = scores[rows, targets]
        shifted = target * math.cos(margin) - (1.0 - target * target).sqrt() * math.sin(margin)
        beyond = target - margin * math.sin(margin)  # angle plus margin exceeds pi
        scores[rows, targets] = torch.where(target > -math.cos(margin), shifted, beyond)
    return F.cross_entropy(scores.mul_(SCALE[loss]), targets)


def metric_learning(loss, w):
    """Returns the module of pytorch-metric-learning, whose prototypes are columns and whose angles are in degrees."""
    from pytorch_metric_learning import losses

    (classes, dimension), scale, margin = w.shape, SCALE[loss], MARGIN[loss]
    if loss == "am-softmax":
        module = losses.CosFaceLoss(classes, dimension, margin=margin, scale=scale)
    else:
        module = losses.ArcFaceLoss(classes, dimension, margin=math.degrees(margin), scale=scale)
    module.W.data = w.t().contiguous()
    return module


def softmargin_step(loss, x, w, targets):
    """Returns the loss function of this project's package."""
    import softmargin
    from softmargin.torch import head_loss, linear_cross_entropy

    if loss == "cross-entropy":
        return lambda: linear_cross_entropy(x, w, targets)
    head = softmargin.Head(loss, *w.shape, scale=SCALE[loss], margin=MARGIN[loss])
    return lambda: head_loss(head, x, w, targets)


def head(peer, loss, x, w, targets):
    """Returns the loss function, and the prototypes with respect to which it is differentiated."""
    if peer == "pml":
        module = metric_learning(loss, w)
        return lambda: module(x, targets), module.W
    w.requires_grad_()
    if peer == "softmargin":
        return softmargin_step(loss, x, w, targets), w
    if peer in ("eager", "compile"):
        function = torch.compile(composed_loss) if peer == "compile" else composed_loss
        return lambda: function(loss, x, w, targets), w
    if loss != "cross-entropy":
        sys.exit(f"{peer}: expected cross-entropy, found {loss}")
    if peer == "cce":
        from cut_cross_entropy import linear_cross_entropy

        return lambda: linear_cross_entropy(x, w, targets, impl="torch_compile"), w
    options = {"linear": None, "chunked": torch.nn.LinearCrossEntropyOptions()}[peer]
    return lambda: F.linear_cross_entropy(x, w, targets, options=options), w


def data(loss, rows, dimension, classes):
    torch.manual_seed(0)
    x, w = torch.randn(rows, dimension), torch.randn(classes, dimension)
    if loss == "cross-entropy":
        w /= math.sqrt(dimension)
    return x.requires_grad_(), w, torch.randint(classes, (rows,))


def resident(line):
    """Returns the resident bytes of this process: current (VmRSS) or peak (VmHWM)."""
    with open("/proc/self/status") as status:
        return next(int(text.split()[1]) * 1024 for text in status if text.startswith(line))


def reset_peak():
    """Returns freed memory to the system and resets the peak, so that it excludes PyTorch's compiler."""
    ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError), open("/proc/self/clear_refs", "w") as file:
        file.write("5")


def main():
    flag, peer, loss, *sizes = sys.argv[1:7]
    options = {"precision": "f32", "memory": "fresh", **dict(option.split("=") for option in sys.argv[7:])}
    if flag != "--serve" or options["precision"] not in ("f32", "bf16") or options["memory"] not in ("fresh", "kept"):
        sys.exit(__doc__)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", os.cpu_count())))
    x, w, targets = data(loss, *map(int, sizes))
    function, w = head(peer, loss, x, w, targets)

    def step():
        for parameter in (x, w):
            if options["memory"] == "fresh":
                parameter.grad = None
            elif parameter.grad is not None:
                parameter.grad.zero_()
        start = time.perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=options["precision"] == "bf16"):
            value = function()
        value.backward()
        return time.perf_counter() - start, value.item()

    _, value = step()
    reset_peak()
    start_bytes = resident("VmRSS")  # includes x, w and their gradients
    print(json.dumps({"ready": True, "own_bytes": 2 * (x.nbytes + w.nbytes), "loss": value}), flush=True)
    for _ in sys.stdin:
        print(json.dumps({"seconds": step()[0]}), flush=True)
    print(json.dumps({"peak_bytes": resident("VmHWM"), "start_bytes": start_bytes}), flush=True)


if __name__ == "__main__":
    main()
