"""A last layer with its loss, whose classes are distributed over the processes of a group.

    loss = gate( comparison_{j != y}( s * score_j ) - s * psi(score_y) )

Each process stores the prototypes of a range of classes, and computes the scores of the whole batch with these alone.
A row needs only a few values over all classes: the target's score, the largest score, the sum of exponentials.
``Group`` merges these values by collective operations; everything else is the composition for one device, in
``_composed``.
"""

from __future__ import annotations

import copy
import math
import os
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import ArrayLike, NDArray
from torch import nn

from softmargin._arrays import MOST_INTEGER, whole
from softmargin._loss import Loss, LossOptions, loss_of
from softmargin.torch._composed import REDUCTIONS, batch_loss, next_state, scores
from softmargin.torch._composed.shards import Whole

__all__ = ["ShardedMarginHead"]

FLOATS = (torch.float64, torch.float32, torch.float16, torch.bfloat16)
BLOCK = 1024
"""Classes whose initial prototypes are drawn together: independent of the number of processes."""


class ShardedMarginHead(nn.Module):
    """A last layer with its loss, whose classes are distributed over the processes of a group.

    Of C classes, each of W processes has C // W, and the first C mod W have one more. ``weight`` (c K, D) has the
    prototypes of a process's own classes, K per class, and ``bias`` (c K), if the geometry has one, their biases. A
    learned ``scale`` and the ``radius`` of ring loss are the same in all processes, and so are their gradients.

    - ``embedding_size``, ``num_classes``: D and C.
    - ``loss``: The name of a published loss, a dictionary or a :class:`softmargin.Loss`. The default ``"am-softmax"``
      is that of the command.
    - ``scale``, ``margin``, ``spec``, ``class_weights``, ``ignored_label``, ``class_counts``, ``label_smoothing``,
      ``z_loss``: As in :class:`softmargin.Loss`.
    - ``process_group``: Default: the default group of ``torch.distributed``.
    - ``sample_share``: Above 0, up to 1: a training step uses the classes of its batch and that share of the others,
      drawn from seed, step and rank; the gradient of other prototypes is 0. Default: all classes are used.
    - ``seed``: Also determines the initial prototypes and the margins that are drawn; the same in all processes.
    - ``device``, ``dtype``: Of the parameters.

    It replaces the last layer of a network that is trained data-parallel. Leave it out of ``DistributedDataParallel``,
    which would average prototypes of different classes. The gradients of the embeddings are those of the loss of the
    whole batch: the parameters of the network need their sum over the processes, and ``DistributedDataParallel``
    computes their mean, so multiply by the number of processes there, or choose the learning rate accordingly.

    Raises ``RuntimeError`` if ``torch.distributed`` is not initialized; ``ValueError`` on numbers out of range;
    ``TypeError`` on arguments of a wrong type.
    """

    weight: nn.Parameter
    bias: nn.Parameter | None
    scale: nn.Parameter | None
    radius: nn.Parameter | None

    def __init__(
        self,
        embedding_size: int,
        num_classes: int,
        loss: str | dict[str, Any] | Loss = "am-softmax",
        *,
        scale: float | None = None,
        margin: float | Sequence[float] | None = None,
        spec: dict[str, Any] | None = None,
        class_weights: ArrayLike | None = None,
        ignored_label: int | None = None,
        class_counts: Sequence[int] | NDArray[Any] | None = None,
        label_smoothing: float | None = None,
        z_loss: float | None = None,
        process_group: dist.ProcessGroup | None = None,
        sample_share: float | None = None,
        seed: int = 0,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        super().__init__()
        if not (dist.is_available() and dist.is_initialized()):
            raise RuntimeError("process_group: expected one; call torch.distributed.init_process_group before this")
        self.embedding_size, self.seed = (
            whole(embedding_size, "embedding_size", 1),
            whole(seed, "seed", 0, MOST_INTEGER),
        )
        if sample_share is not None and not 0 < sample_share <= 1:
            raise ValueError(f"sample_share: expected a number above 0, up to 1, found {sample_share}")
        options = LossOptions(scale, margin, spec, class_weights, ignored_label, class_counts, label_smoothing, z_loss)
        self.loss = loss_of(loss, num_classes, options)
        self.num_classes, self.sample_share = self.loss.num_classes, sample_share
        self.process_group = dist.group.WORLD if process_group is None else process_group
        self.rank, self.world_size = dist.get_rank(self.process_group), dist.get_world_size(self.process_group)
        if self.rank < 0:
            raise ValueError("process_group: expected one that this process belongs to, found another")
        self.first_class, self.num_local_classes = _share_of(self.num_classes, self.rank, self.world_size)
        self._spec = self.loss.spec
        self.sub_centers = self._spec.get("sub-centers", 1)
        self.step = 0
        """The number of training steps done."""
        self._state = self.loss.initial_state(self.seed)
        self._make_parameters({"device": device, "dtype": dtype})

    def _make_parameters(self, options: dict[str, Any]) -> None:
        prototypes = self.num_local_classes * self.sub_centers
        self.weight = nn.Parameter(torch.empty(prototypes, self.embedding_size, **options))
        has_bias = self._spec["geometry"].get("bias", False)
        self.bias = nn.Parameter(torch.zeros(prototypes, **options)) if has_bias else None
        scale, regularizer = self._spec["scale"], self._spec.get("regularizer") or {}
        learned = scale["kind"] == "learned"
        self.scale = nn.Parameter(torch.tensor(scale["initial"], **options)) if learned else None
        ring = regularizer.get("kind") == "ring"
        self.radius = nn.Parameter(torch.tensor(regularizer["radius"], **options)) if ring else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws prototypes with about unit norm in random directions, the same for any number of processes."""
        last = self.first_class + self.num_local_classes
        with torch.no_grad():
            for block in range(self.first_class // BLOCK, math.ceil(last / BLOCK)):
                start, end = max(self.first_class, block * BLOCK), min(last, (block + 1) * BLOCK)
                generator = np.random.Generator(np.random.Philox(np.random.SeedSequence([self.seed, block])))
                rows = generator.standard_normal((BLOCK * self.sub_centers, self.embedding_size), dtype=np.float32)
                rows = rows[(start - block * BLOCK) * self.sub_centers : (end - block * BLOCK) * self.sub_centers]
                first, last_row = ((number - self.first_class) * self.sub_centers for number in (start, end))
                self.weight[first:last_row] = torch.from_numpy(rows / math.sqrt(self.embedding_size)).to(self.weight)

    def extra_repr(self) -> str:
        """Returns what ``print`` shows between the parentheses."""
        classes = f"classes {self.first_class} to {self.first_class + self.num_local_classes - 1} of {self.num_classes}"
        return f"{self.loss.name}, embedding_size={self.embedding_size}, {classes}"

    @property
    def state(self) -> dict[str, Any] | None:
        """The state of the loss, a dictionary, the same in all processes; None for a loss without state."""
        return copy.copy(self._state)

    @state.setter
    def state(self, value: dict[str, Any] | None) -> None:
        if (value is None) != (self._state is None):
            expected = "None" if self._state is None else "a dictionary"
            raise ValueError(f"state: expected {expected} with this loss, found {value!r}")
        self._state = copy.copy(value)

    def forward(
        self,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        reduction: Literal["mean", "mean-or-nan", "sum"] = "mean",
        *,
        sample_weights: torch.Tensor | None = None,
        margins: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Returns the loss of the batch of all processes, a scalar, the same in each.

        Every process passes its own rows, any number of them, including none:

        - ``embeddings``: (n, D).
        - ``target``: Labels (n) from 0.
        - ``reduction``: Over all rows of all processes.
        - ``sample_weights``: (n), 0 or above. Default: 1.
        - ``margins``: (n), for a margin per sample.

        All processes must call it, and ``backward``, the same number of times, and multiply the loss by the same
        number. In training mode with gradients enabled the batch is added to the averages of the state before the loss
        is computed, and the step is counted.

        Raises ``IndexError``, ``TypeError`` and ``ValueError`` as :meth:`softmargin.Head.evaluate`, in all processes;
        rows are numbered through the batch of all processes.
        """
        batch = self._gathered(embeddings, target, sample_weights, margins, reduction)
        embeddings, target, sample_weights, margins = batch
        trains = self.training and torch.is_grad_enabled()
        shards, weight, bias = self._local_classes(target, trains)
        rows = {"sample_weights": sample_weights, "margins": margins}
        state = self._state
        if trains:
            state = next_state(self.loss, state, embeddings, weight, target, shards=shards, **rows)
        learned = {"scale": self.scale, "radius": self.radius}
        loss = batch_loss(
            self.loss, embeddings, weight, target, reduction, bias=bias, state=state, shards=shards, **learned, **rows
        )
        if trains:
            self._count(state)
        return loss

    def _count(self, state: dict[str, Any] | None) -> None:
        self.step += 1
        self._state = None if state is None else {**state, "step": state["step"] + 1}

    def _gathered(
        self,
        embeddings: torch.Tensor,
        target: torch.Tensor,
        sample_weights: torch.Tensor | None,
        margins: torch.Tensor | None,
        reduction: str,
    ) -> tuple[torch.Tensor | None, ...]:
        """Returns the rows of all processes, after all processes have agreed on their shapes and types."""
        sizes, needs_gradient = _agreed_sizes(self, embeddings, target, sample_weights, margins, reduction)
        group = self.process_group
        if needs_gradient and torch.is_grad_enabled() and not embeddings.requires_grad:
            # All processes must take part in the collective operations of the backward pass.
            embeddings = embeddings.detach().requires_grad_()
        rows = [_Gather.apply(embeddings, sizes, group), _all_rows(target.long(), sizes, group)]
        of_rows = (sample_weights, margins)
        return *rows, *(None if values is None else _all_rows(values, sizes, group) for values in of_rows)

    def _local_classes(self, target: torch.Tensor, trains: bool) -> tuple[Group, torch.Tensor, torch.Tensor | None]:
        """Returns the local classes that take part, all or a sample, with their prototypes and biases."""
        first, count = self.first_class, self.num_local_classes
        most = math.ceil(self.num_classes / self.world_size)
        device = self.weight.device
        if self.sample_share is None or not trains:
            classes = torch.arange(first, first + count, device=device)
            return Group(self.process_group, classes, most), self.weight, self.bias
        classes = self._sample(target) + first
        most = min(most, len(target) + math.ceil(self.sample_share * most))
        prototypes = (classes.unsqueeze(1) - first) * self.sub_centers + torch.arange(self.sub_centers, device=device)
        prototypes = prototypes.reshape(-1)
        bias = None if self.bias is None else self.bias[prototypes]
        return Group(self.process_group, classes, most), self.weight[prototypes], bias

    def _sample(self, target: torch.Tensor) -> torch.Tensor:
        """Returns the local classes of a step, in rising order: those of the batch, and a share of the others."""
        taken = torch.zeros(self.num_local_classes, dtype=torch.bool)
        local = (target - self.first_class).cpu()
        taken[local[(local >= 0) & (local < self.num_local_classes)]] = True
        others = (~taken).nonzero()[:, 0]
        sequence = np.random.SeedSequence([self.seed, self.step, self.rank])
        generator = torch.Generator().manual_seed(int(sequence.generate_state(1, np.uint64)[0] >> np.uint64(1)))
        drawn = torch.randperm(len(others), generator=generator)[: round(self.sample_share * len(others))]
        taken[others[drawn]] = True
        return taken.nonzero()[:, 0].to(self.weight.device)

    @torch.no_grad()
    def scores(self, embeddings: torch.Tensor) -> torch.Tensor:
        """Returns the score of every class (n, C) of a process's own embeddings (n, D), without margin and scale.

        All processes must call it, with any number of embeddings, including none. The scores have no gradient.
        Errors as :meth:`forward`.
        """
        target = torch.zeros(len(embeddings), dtype=torch.int64, device=embeddings.device)
        sizes, _ = _agreed_sizes(self, embeddings, target, None, None, REDUCTIONS[0])
        embeddings = _all_rows(embeddings, sizes, self.process_group)
        first = self.first_class
        classes = torch.arange(first, first + self.num_local_classes, device=self.weight.device)
        shards = Group(self.process_group, classes, self.num_local_classes)
        answer = None
        # The rows of one process at a time, so that no process stores the scores of all rows.
        for rank, rows in enumerate(embeddings.split(sizes)):
            found = self._collected(scores(self.loss, rows, self.weight, self.bias, shards=shards), rank)
            answer = found if rank == self.rank else answer
        return answer

    def _collected(self, local: torch.Tensor, rank: int) -> torch.Tensor | None:
        """Returns the scores (n, C) at one process, gathered from the scores (n, c) of all; None at the others."""
        counts = [_share_of(self.num_classes, other, self.world_size)[1] for other in range(self.world_size)]
        if len(local) == 0:
            return local.new_empty(0, self.num_classes)
        padded = torch.nn.functional.pad(local, (0, counts[0] - local.shape[1])).contiguous()
        parts = [torch.empty_like(padded) for _ in counts] if rank == self.rank else None
        dist.gather(padded, parts, dst=dist.get_global_rank(self.process_group, rank), group=self.process_group)
        if parts is None:
            return None
        return torch.cat([part[:, :count] for part, count in zip(parts, counts, strict=True)], 1)

    @torch.no_grad()
    def full_weight(self) -> torch.Tensor:
        """Returns the prototypes of all classes (C K, D), in all processes, detached. All processes must call it."""
        shares = (_share_of(self.num_classes, rank, self.world_size)[1] for rank in range(self.world_size))
        return _all_rows(self.weight.detach(), [share * self.sub_centers for share in shares], self.process_group)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes parameters and state to a directory; any number of processes can :meth:`load` it. All must call it."""
        import torch.distributed.checkpoint as checkpoints

        checkpoints.save(self.state_dict(), checkpoint_id=path, process_group=self.process_group)

    def load(self, path: str | os.PathLike[str]) -> None:
        """Reads what :meth:`save` wrote, with any number of processes. All must call it."""
        import torch.distributed.checkpoint as checkpoints

        read = self.state_dict()
        checkpoints.load(read, checkpoint_id=path, process_group=self.process_group)
        self.load_state_dict(read)

    def get_extra_state(self) -> dict[str, Any]:
        """Returns step and state, which are no tensors, for ``state_dict``."""
        return {"step": self.step, "state": {} if self._state is None else dict(self._state)}

    def set_extra_state(self, extra: dict[str, Any]) -> None:
        """Restores what :meth:`get_extra_state` returned."""
        self.step = int(extra["step"])
        if self._state is not None:
            self._state = {name: type(value)(extra["state"][name]) for name, value in self._state.items()}

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        """Saves prototypes and bias as ``ShardedTensor``, which ``torch.distributed.checkpoint`` writes and reads."""
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in ("weight", "bias"):
            if prefix + name in destination:
                destination[prefix + name] = self._sharded(destination[prefix + name])

    def _load_from_state_dict(self, state_dict, prefix, *rest):
        """Accepts a ``ShardedTensor`` of the same layout, this process's part, or the whole tensor."""
        from torch.distributed._shard.sharded_tensor import ShardedTensor

        start, count = self.first_class * self.sub_centers, self.num_local_classes * self.sub_centers
        for name in ("weight", "bias"):
            found = state_dict.get(prefix + name)
            if isinstance(found, ShardedTensor):
                parts = found.local_shards()
                state_dict[prefix + name] = parts[0].tensor if parts else getattr(self, name).detach()
            elif torch.is_tensor(found) and len(found) == self.num_classes * self.sub_centers:
                state_dict[prefix + name] = found[start : start + count]
        super()._load_from_state_dict(state_dict, prefix, *rest)

    def _sharded(self, local: torch.Tensor) -> Any:
        """Returns a tensor (c K, ...) as the local part of a ``ShardedTensor`` (C K, ...), without communication."""
        from torch.distributed._shard import sharded_tensor as sharded
        from torch.distributed._shard.sharding_spec import ShardMetadata

        tail, parts = list(local.shape[1:]), []
        for rank in range(self.world_size):
            first, count = _share_of(self.num_classes, rank, self.world_size)
            sizes = [count * self.sub_centers, *tail]
            offsets = [first * self.sub_centers, *[0] * len(tail)]
            parts.append(ShardMetadata(offsets, sizes, placement=f"rank:{rank}/{local.device}"))
        metadata = sharded.ShardedTensorMetadata(
            shards_metadata=[part for part in parts if part.shard_sizes[0]],
            size=torch.Size([self.num_classes * self.sub_centers, *tail]),
            tensor_properties=sharded.TensorProperties(dtype=local.dtype),
        )
        own = [sharded.Shard(local.detach(), parts[self.rank])] if len(local) else []
        made = sharded.ShardedTensor._init_from_local_shards_and_global_metadata
        return made(own, metadata, process_group=self.process_group)


class Group(Whole):
    """The classes of one process of a group, and the collective operations that merge the values of all."""

    def __init__(self, group: dist.ProcessGroup, classes: torch.Tensor, most_classes: int) -> None:
        self.group, self.classes, self.most_classes = group, classes, most_classes

    def spread(self, replicated: torch.Tensor) -> torch.Tensor:
        return _Spread.apply(replicated, self.group)

    def sum(self, partial: torch.Tensor) -> torch.Tensor:
        return _Sum.apply(partial, self.group)

    def max(self, partial: torch.Tensor) -> torch.Tensor:
        return _reduced(partial, dist.ReduceOp.MAX, self.group)

    def min(self, partial: torch.Tensor) -> torch.Tensor:
        return _reduced(partial, dist.ReduceOp.MIN, self.group)


class _Spread(torch.autograd.Function):
    """A tensor that is the same in all processes, as input to local computations: the gradients are summed."""

    @staticmethod
    def forward(ctx, tensor, group):
        ctx.group = group
        return tensor.view_as(tensor)

    @staticmethod
    def backward(ctx, slope):
        return _reduced(slope, dist.ReduceOp.SUM, ctx.group), None


class _Sum(torch.autograd.Function):
    """The sum over the processes. All use it in the same way, so each already has the whole gradient."""

    @staticmethod
    def forward(ctx, tensor, group):
        return _reduced(tensor, dist.ReduceOp.SUM, group)

    @staticmethod
    def backward(ctx, slope):
        return slope, None


class _Gather(torch.autograd.Function):
    """The rows of all processes. Each process has their whole gradient, and returns that of its own rows."""

    @staticmethod
    def forward(ctx, rows, sizes, group):
        rank = dist.get_rank(group)
        ctx.first, ctx.count = sum(sizes[:rank]), sizes[rank]
        return _all_rows(rows, sizes, group)

    @staticmethod
    def backward(ctx, slope):
        return slope[ctx.first : ctx.first + ctx.count], None, None


def _reduced(tensor: torch.Tensor, operation: Any, group: dist.ProcessGroup) -> torch.Tensor:
    tensor = tensor.detach().clone(memory_format=torch.contiguous_format)
    if tensor.numel():
        dist.all_reduce(tensor, operation, group=group)
    return tensor


def _all_rows(rows: torch.Tensor, sizes: Sequence[int], group: dist.ProcessGroup) -> torch.Tensor:
    """Returns the rows (n, ...) of all processes, (sum of sizes, ...); n differs between the processes."""
    most = max(sizes)
    if most == 0:
        return rows.new_empty(0, *rows.shape[1:])
    padded = rows.new_zeros(most, *rows.shape[1:])
    padded[: len(rows)] = rows
    parts = [torch.empty_like(padded) for _ in sizes]
    dist.all_gather(parts, padded, group=group)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _share_of(num_classes: int, rank: int, world_size: int) -> tuple[int, int]:
    """Returns the first class of a process, and the number of its classes."""
    each, more = divmod(num_classes, world_size)
    return rank * each + min(rank, more), each + (rank < more)


def _agreed_sizes(
    head: ShardedMarginHead,
    embeddings: torch.Tensor,
    target: torch.Tensor,
    sample_weights: torch.Tensor | None,
    margins: torch.Tensor | None,
    reduction: str,
) -> tuple[list[int], bool]:
    """Returns the numbers of rows of all processes, and whether any needs a gradient.

    An error in one process is raised in all of them, so that none waits for the others.
    """
    problem = _problem(head, embeddings, target, sample_weights, margins, reduction)
    if problem is None:
        header = [len(embeddings), False, embeddings.requires_grad]
        header += [_type_number(tensor) for tensor in (embeddings, sample_weights, margins)]
        header += [REDUCTIONS.index(reduction), head.step, head.training, torch.is_grad_enabled()]
    else:
        header = [0, True] + [0] * 8
    header = torch.tensor(header, dtype=torch.int64, device=head.weight.device)
    headers = [torch.empty_like(header) for _ in range(head.world_size)]
    dist.all_gather(headers, header, group=head.process_group)
    table = torch.stack(headers).tolist()
    if problem is not None:
        raise problem
    broken = [rank for rank, row in enumerate(table) if row[1]]
    if broken:
        raise ValueError(f"the batch: expected one that fits in every process, found another at rank {broken[0]}")
    if any(row[3:] != table[0][3:] for row in table):
        words = "types, sample_weights, margins, reduction, step, training and gradients to be alike in all processes"
        raise ValueError(f"the batch: expected {words}, found others")
    return [row[0] for row in table], any(row[2] for row in table)


def _type_number(tensor: torch.Tensor | None) -> int:
    return -1 if tensor is None or tensor.dtype not in FLOATS else FLOATS.index(tensor.dtype)


def _problem(
    head: ShardedMarginHead,
    embeddings: Any,
    target: Any,
    sample_weights: Any,
    margins: Any,
    reduction: str,
) -> Exception | None:
    """Returns the error in a process's own inputs; None if they are valid."""
    if reduction not in REDUCTIONS:
        return ValueError(f"reduction: expected one of {', '.join(REDUCTIONS)}, found {reduction!r}")
    given = {"embeddings": embeddings, "target": target, "sample_weights": sample_weights, "margins": margins}
    for name, tensor in given.items():
        if not isinstance(tensor, torch.Tensor) and (tensor is not None or name in ("embeddings", "target")):
            return TypeError(f"{name}: expected a tensor, found {type(tensor).__name__}")
    if embeddings.dim() != 2 or embeddings.shape[1] != head.embedding_size:
        return ValueError(f"embeddings: expected (n, {head.embedding_size}), found {tuple(embeddings.shape)}")
    if embeddings.dtype not in FLOATS:
        return TypeError(f"embeddings: expected floating-point numbers, found {embeddings.dtype}")
    if target.dim() != 1 or len(target) != len(embeddings):
        return ValueError(f"target: expected labels of length {len(embeddings)}, found shape {tuple(target.shape)}")
    if target.dtype.is_floating_point or target.dtype.is_complex or target.dtype == torch.bool:
        return TypeError(f"target: expected whole numbers from 0, found {target.dtype}")
    for name, values in (("sample_weights", sample_weights), ("margins", margins)):
        if values is None:
            continue
        if tuple(values.shape) != (len(embeddings),):
            return ValueError(f"{name}: expected length {len(embeddings)}, found shape {tuple(values.shape)}")
        if values.dtype not in FLOATS:
            return TypeError(f"{name}: expected floating-point numbers, found {values.dtype}")
        if values.requires_grad:
            return ValueError(f"{name}: expected numbers that need no gradient, found a tensor that does; detach it")
    return None
