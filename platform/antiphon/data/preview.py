"""What a plan will do, before anything is spent: utterances, hours, drops by reason, padding, epochs."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.data.plan import Plan, counts_text
from antiphon.data.utterance import Kind


@dataclass(frozen=True, kw_only=True)
class StreamPreview:
    """One stream over one epoch; real_*: the share of its padded batches that is data, None for a side it lacks."""

    name: str
    kind: Kind
    utterances: int
    hours: float
    phones: int
    micro_batches: int
    real_seconds: float | None
    real_phones: float | None
    dropped: dict[str, int]
    epochs: float  # passes over its rows in the whole run


@dataclass(frozen=True, kw_only=True)
class Preview:
    """Of a whole run; `str(preview)` is the table that people read."""

    plan_hash: str
    corpora: tuple[str, ...]
    num_steps: int
    phases: tuple[str, ...]
    streams: tuple[StreamPreview, ...]

    def __str__(self) -> str:
        lines = [f"plan {self.plan_hash} over {', '.join(self.corpora)}: {self.num_steps:,} steps"]
        lines += [f"  {phase}" for phase in self.phases]
        lines += [
            f"  {'stream':<12}{'kind':<8}{'utterances':>12}{'hours':>10}{'phones':>13}{'batches':>10}{'epochs':>9}"
            f"{'real sec':>10}{'real phones':>13}"
        ]
        for one in self.streams:
            shares = ["-" if share is None else f"{share:.1%}" for share in (one.real_seconds, one.real_phones)]
            lines.append(
                f"  {one.name:<12}{one.kind:<8}{one.utterances:>12,}{one.hours:>10,.2f}{one.phones:>13,}"
                f"{one.micro_batches:>10,}{one.epochs:>9.2f}{shares[0]:>10}{shares[1]:>13}"
            )
        lines += [f"  dropped from {one.name}: {counts_text(one.dropped)}" for one in self.streams]
        return "\n".join(lines)


def preview(plan: Plan, *, num_steps: int) -> Preview:
    """Of a run of num_steps (loop.num_steps); padding is measured on micro-batches like those of an epoch."""
    consumed = plan.consumed(num_steps)
    streams = []
    for name, order in plan.orders.items():
        kind = plan.config.streams[name].kind
        rows, begins = order.unshuffled()
        seconds, phones = plan.columns.seconds[rows], plan.columns.phones[rows]
        streams.append(
            StreamPreview(
                name=name,
                kind=kind,
                utterances=len(order),
                hours=0.0 if kind == "text" else float(seconds.sum(dtype=np.float64)) / 3600,
                phones=0 if kind == "speech" else int(phones.sum(dtype=np.int64)),
                micro_batches=order.num_batches,
                real_seconds=None if kind == "text" else real_share(seconds, begins),
                real_phones=None if kind == "speech" else real_share(phones, begins),
                dropped=dict(plan.dropped[name]),
                epochs=consumed.get(name, 0) / order.num_batches,
            )
        )
    phases = []
    for phase in plan.config.phases:
        counts = " + ".join(f"{count} {name}" for name, count in phase.micro_batches.items() if count)
        phases.append(f"{'then' if phase.steps is None else f'{phase.steps:,} steps of'} {counts} micro-batches a step")
    return Preview(
        plan_hash=plan.hash,
        corpora=tuple(manifest.corpus for manifest in plan.columns.manifests),
        num_steps=num_steps,
        phases=tuple(phases),
        streams=tuple(streams),
    )


def real_share(lengths: npt.NDArray[np.floating | np.integer], begins: npt.NDArray[np.int64]) -> float:
    """The share that is data when lengths (N,) are cut at `begins` and each micro-batch is padded to its longest."""
    sizes = np.diff(begins, append=len(lengths))
    longest = np.maximum.reduceat(lengths, begins).astype(np.float64)
    return float(lengths.sum(dtype=np.float64) / (longest * sizes).sum())
