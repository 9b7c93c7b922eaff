"""A plain small model, ragged batches of three kinds, and one run of the loop: what the tests of the loop train.

Also a program, so that a test may start several ranks: python toy.py RANK WORLD STEPS OUT.
"""

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from antiphon.data.batch import Batch, pad
from antiphon.losses.loss import Loss
from antiphon.nn.mask import length_mask
from antiphon.train.log import Log
from antiphon.train.loop import Group, LoopConfig, Progress, train_steps
from antiphon.train.optim import OptimConfig, make_optimizer

NUM_MELS, NUM_PHONES, WIDTH = 5, 7, 8
STEPS_AN_EPOCH = 4
OPTIM = OptimConfig(lr=0.02, warmup_steps=3, weight_decay=0.1, clip_norm=1.0)


class Toy(nn.Module):
    """Speech through one layer, text through an embedding, both through a shared layer; dropout; an averaged copy; an
    unused parameter."""

    needs: Mapping[str, frozenset[str]] = {
        "speech": frozenset({"mel"}),
        "text": frozenset({"phones"}),
        "paired": frozenset({"mel", "phones"}),
    }

    def __init__(self) -> None:
        super().__init__()
        self.speech = nn.Linear(NUM_MELS, WIDTH)
        self.text = nn.Embedding(NUM_PHONES, WIDTH)
        self.shared = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.Dropout(0.3), nn.Tanh(), nn.Linear(WIDTH, WIDTH))
        self.unused = nn.Parameter(torch.ones(3, 3))
        self.register_buffer("average", torch.zeros(WIDTH, WIDTH))

    def forward(self, batch: Batch) -> Loss:
        sides = {}
        if batch.mel is not None and batch.mel_len is not None:
            sides["speech"] = _mean(self.shared(self.speech(batch.mel)), batch.mel_len)
        if batch.phones is not None and batch.phones_len is not None:
            sides["text"] = _mean(self.shared(self.text(batch.phones)), batch.phones_len)
        total = sum((values.square().mean(-1) - values[:, 0]).sum() for values in sides.values())
        if len(sides) == 2:
            total = total + (sides["speech"] - sides["text"]).square().sum()
        parts = {name: (values.detach().sum(), len(batch)) for name, values in sides.items()}
        return Loss(total=total, count=len(batch), parts=parts)

    def after_step(self, step: int) -> None:
        weight = self.shared[0].weight.detach()
        self.average = self.average.lerp(weight, 0.1)


def _mean(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, D) -> (B, D) over real positions."""
    mask = length_mask(lengths, x.shape[1]).unsqueeze(-1)
    return (x * mask).sum(1) / lengths.unsqueeze(1)


def batch_of(kind: str, seed: int, *, poison: bool = False) -> Batch:
    """One to five utterances of one to nine frames."""
    chance = torch.Generator().manual_seed(seed)

    def lengths() -> list[int]:
        return torch.randint(1, 10, (size,), generator=chance).tolist()

    size = int(torch.randint(1, 6, (), generator=chance))
    mel = pad([torch.randn(n, NUM_MELS, generator=chance) for n in lengths()]) if kind != "text" else (None, None)
    phones = pad([torch.randint(1, NUM_PHONES, (n,), generator=chance) for n in lengths()])
    phones = phones if kind != "speech" else (None, None)
    if poison and mel[0] is not None:
        mel[0][0, 0, 0] = float("nan")
    keys = tuple(f"{kind}-{seed}-{row}" for row in range(size))
    sides = {"mel": mel[0], "mel_len": mel[1], "phones": phones[0], "phones_len": phones[1]}
    return Batch(kind=kind, keys=keys, seconds=float(size), **sides)  # type: ignore[arg-type]


def groups(start: int, *, rank: int = 0, world: int = 1, poisoned: frozenset[int] = frozenset()) -> Iterator[Group]:
    """Steps from `start`, without end: five micro-batches a step, the order of an epoch its own."""
    kinds = ("paired", "text", "speech", "text", "paired")
    step = start
    while True:
        epoch, row = divmod(step, STEPS_AN_EPOCH)
        seeds = [1000 * epoch + (row + epoch) % STEPS_AN_EPOCH * 10 + index for index in range(len(kinds))]
        group = [(i, batch_of(kinds[i], seeds[i], poison=step in poisoned and i == 4)) for i in range(len(kinds))]
        # The first two steps have one kind only, so that some parameters get no gradient on any rank.
        yield (group if step >= 2 else [group[1], group[3]])[rank::world]
        step += 1


def run(
    steps: int,
    *,
    progress: Progress | None = None,
    model: Toy | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    log: Log | None = None,
    save: Callable[[Progress], None] = lambda progress: None,
    last: int | None = None,
    world: int = 1,
    rank: int = 0,
    poisoned: frozenset[int] = frozenset(),
    max_refused: int = 3,
    **settings: int,
) -> tuple[Toy, torch.optim.Optimizer, Progress]:
    """A run of `steps` from where progress stands; `last` stops it earlier, as a signal does."""
    if model is None:
        torch.manual_seed(0)
        model = Toy()
    optimizer = optimizer or make_optimizer(OPTIM, model)
    progress = progress or Progress()
    loop = LoopConfig(
        num_steps=steps, max_refused=max_refused, **{"report_every": 3, "checkpoint_every": 4, **settings}
    )
    stream = groups(progress.step, rank=rank, world=world, poisoned=poisoned)
    where = progress

    def stop() -> bool:
        return last is not None and where.step + 1 >= last

    train_steps(
        model, stream, optimizer, loop=loop, optim=OPTIM, seed=11, progress=progress, log=log, save=save, stop=stop
    )
    return model, optimizer, progress


def main() -> None:
    rank, world, steps, out = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4])
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{out / 'meet'}", rank=rank, world_size=world)
    log = Log(out, step=0, num_steps=steps) if rank == 0 else None
    model, _, _ = run(steps, rank=rank, world=world, log=log)
    torch.save(model.state_dict(), out / f"rank{rank}.pt")
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
