"""The one training loop: a group of micro-batches, their gradients summed over ranks, one update. No model has its own.

A micro-batch's total is backpropagated as it is. The sums of the gradients and the counts are added over the group and
over the ranks, and only then divided, so the update does not depend on how micro-batches fall to ranks. Nor do dropout
and masks: each micro-batch draws from a seed of its own. No wrapper (DDP) surrounds the model: gradients are summed
after the last backward pass, which costs the overlap of the two and buys exactness for ragged batches, several kinds of
data and unused parameters.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from time import perf_counter
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from torch import nn

from antiphon.data.batch import Batch
from antiphon.data.utterance import Kind
from antiphon.losses.loss import Loss
from antiphon.seed import derive_seed
from antiphon.train.log import Log, Meter
from antiphon.train.optim import OptimConfig, clip, fast_bf16, learning_rate, set_rate

_BUCKET_VALUES = 8 << 20  # gradients travel in pieces of at most 32 MB of fp32

# The micro-batches of one step that fall to this rank, each with its index in the whole step.
Group = Sequence[tuple[int, Batch]]


class Model(Protocol):
    """What the loop asks of a model (an nn.Module)."""

    @property
    def needs(self) -> Mapping[Kind, frozenset[str]]:
        """The sides of a Batch that it reads, for each kind that it trains on."""

    def __call__(self, batch: Batch) -> Loss:
        """The loss of one micro-batch, summed over what its count counts."""

    def after_step(self, step: int) -> None:
        """Called after update number `step` (1 is the first): averaged weights and the like."""

    def parameters(self, recurse: bool = True) -> Iterator[nn.Parameter]:
        """nn.Module's."""

    def train(self, mode: bool = True) -> Any:
        """nn.Module's."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """How long a run is, in what precision, and what it leaves behind."""

    num_steps: int
    # bf16: autocast, weights and optimizer stay fp32. auto: bf16 where the device multiplies it in hardware, else fp32.
    precision: Literal["auto", "fp32", "bf16"] = "fp32"
    report_every: int = 50  # steps from one ledger line to the next
    checkpoint_every: int = 1000  # steps; the last step is always saved
    keep_checkpoints: int = 2
    max_refused: int = 10  # updates in a row whose loss or gradient may be non-finite before the run fails

    def half(self, device: torch.device) -> bool:
        """Whether products are bf16 on this device."""
        return self.precision == "bf16" or (self.precision == "auto" and fast_bf16(device))


@dataclass(kw_only=True)
class Progress:
    """Where a run stands between two steps; with the weights and the optimizer all that resuming needs."""

    step: int = 0  # updates made or refused
    refused: int = 0  # of which refused in a row, up to now
    meter: Meter = field(default_factory=Meter)  # sums since the last report


def train_steps(
    model: Model,
    groups: Iterable[Group],
    optimizer: torch.optim.Optimizer,
    *,
    loop: LoopConfig,
    optim: OptimConfig,
    seed: int,
    progress: Progress,
    log: Log | None,
    save: Callable[[Progress], None],
    stop: Callable[[], bool] = lambda: False,
) -> Progress:
    """Train from progress.step to loop.num_steps, or until some rank's stop() is true; groups begin at progress.step.

    Every rank calls it with the same arguments but its own groups. log is given on rank 0 only; save is called on every
    rank, progress.meter then holding the sums of all ranks on rank 0. Raises ValueError after loop.max_refused refusals
    in a row.
    """
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    half = loop.half(parameters[0].device)
    model.train()
    stream = iter(groups)
    for step in range(progress.step, loop.num_steps):
        started = perf_counter()
        group = next(stream)
        progress.meter.wait_sec += perf_counter() - started
        set_rate(optimizer, rate := learning_rate(optim, step, loop.num_steps))
        optimizer.zero_grad(set_to_none=True)
        losses = [
            _backward(model, batch.to(parameters[0].device), derive_seed(seed, "step", step, index), half)
            for index, batch in group
        ]
        mean, wish_to_stop = average_over_ranks(parameters, losses, wish=stop())
        norm = clip(parameters, optim.clip_norm)
        if math.isfinite(mean) and math.isfinite(norm):
            optimizer.step()
            model.after_step(step + 1)
            progress.refused = 0
            progress.meter.add([batch for _, batch in group], losses, norm)
        else:
            progress.refused += 1
            _refuse(step + 1, _culprits(group, losses), progress.refused, loop.max_refused, log)
        progress.step = step + 1
        last = progress.step == loop.num_steps
        if last or progress.step % loop.report_every == 0:
            progress.meter = _gather(progress.meter)
            if log is not None:
                log.report(progress.step, progress.meter, rate)
            progress.meter = Meter()
        if last or wish_to_stop or progress.step % loop.checkpoint_every == 0:
            progress.meter = _gather(progress.meter)
            save(progress)
        if wish_to_stop:
            break
    return progress


def _backward(model: Model, batch: Batch, seed: int, half: bool) -> Loss:
    """One micro-batch forward and backward, its gradients added to the parameters'. Returns the loss, graph gone."""
    for side in sorted(_needs(model, batch.kind)):
        if getattr(batch, side) is None:
            raise ValueError(
                f"a {batch.kind} batch must have {side}, which {type(model).__name__} needs, but the batch that begins "
                f"with {batch.keys[0]} has none; ingest the corpus with {side}"
            )
    torch.manual_seed(seed)
    device = next(model.parameters()).device
    with torch.autocast(device.type, dtype=torch.bfloat16, enabled=half):
        loss = model(batch)
    loss.total.backward()  # type: ignore[no-untyped-call]
    return replace(loss, total=loss.total.detach())


def _needs(model: Model, kind: Kind) -> frozenset[str]:
    if kind not in model.needs:
        raise ValueError(
            f"{type(model).__name__} must know how to train on {kind} batches, but knows only "
            f"{', '.join(model.needs)}; take the kind {kind} out of the experiment's data"
        )
    return model.needs[kind]


def average_over_ranks(parameters: Sequence[nn.Parameter], losses: Sequence[Loss], *, wish: bool) -> tuple[float, bool]:
    """Turn sums of gradients into the gradient of the mean over all ranks, in place.

    Returns the mean loss, and whether any rank has the wish (to stop), so that all ranks act alike. A parameter that
    got a gradient on some rank counts as zeros on the others; one that got none anywhere keeps none, so the optimizer
    leaves it alone, as it does with one worker.
    """
    used = [parameter.grad is not None for parameter in parameters]
    head = [sum(float(loss.total) for loss in losses), sum(loss.count for loss in losses), wish, *used]
    if not dist.is_initialized():
        return _divide(parameters, *head[:2]), wish
    shared = torch.tensor(head, dtype=torch.float64, device=parameters[0].device)
    dist.all_reduce(shared)
    total, count, wishes, *users = shared.tolist()
    for bucket in _buckets([parameter for parameter, share in zip(parameters, users, strict=True) if share > 0]):
        flat = torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in bucket])
        dist.all_reduce(flat)
        for parameter, piece in zip(bucket, torch.split(flat, [p.numel() for p in bucket]), strict=True):
            parameter.grad = piece.view_as(parameter)
    return _divide(parameters, total, count), wishes > 0


def _divide(parameters: Sequence[nn.Parameter], total: float, count: float) -> float:
    for parameter in parameters:
        if parameter.grad is not None:
            parameter.grad.div_(max(1.0, count))
    return total / max(1.0, count)


def _buckets(parameters: Sequence[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Parameters in their order, cut where a bucket would pass _BUCKET_VALUES; the same on every rank."""
    bucket: list[nn.Parameter] = []
    size = 0
    for parameter in parameters:
        if bucket and size + parameter.numel() > _BUCKET_VALUES:
            yield bucket
            bucket, size = [], 0
        bucket.append(parameter)
        size += parameter.numel()
    if bucket:
        yield bucket


def _gather(meter: Meter) -> Meter:
    """The meters of all ranks added up on rank 0, in their order so that bits repeat; an empty one elsewhere."""
    if not dist.is_initialized():
        return meter
    meters: list[Meter | None] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(meter, meters)
    return Meter() if meters is None else Meter.merged([one for one in meters if one is not None])


def _culprits(group: Group, losses: Sequence[Loss]) -> list[str]:
    """Keys, over all ranks, of the micro-batches whose own loss is not finite; of all when only the gradient is not."""
    batches = [batch for _, batch in group]
    bad = [batch for batch, loss in zip(batches, losses, strict=True) if not math.isfinite(float(loss.total))]
    mine = ([key for batch in bad for key in batch.keys], [key for batch in batches for key in batch.keys])
    ranks: list[Any] = [mine]
    if dist.is_initialized():
        ranks = [None] * dist.get_world_size()
        dist.all_gather_object(ranks, mine)
    return [key for keys, _ in ranks for key in keys] or [key for _, keys in ranks for key in keys]


def _refuse(step: int, keys: Sequence[str], in_a_row: int, most: int, log: Log | None) -> None:
    """Put a refused update on record; raise when there are too many in a row."""
    if log is not None:
        log.refuse(step, keys)
    if in_a_row >= most:
        raise ValueError(
            f"the loss must be finite, but was not at {in_a_row} steps in a row up to step {step}; the last one held "
            f"{', '.join(keys[:8])}{' and more' if len(keys) > 8 else ''}: look at these utterances, or lower optim.lr"
        )
