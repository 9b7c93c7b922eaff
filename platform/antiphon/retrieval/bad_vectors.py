"""Which vectors a store takes, and why not the others.

Other stores take NaN and infinity, and one infinite row is then every query's best hit. Here each row is judged before
it is written; the first reason that applies is reported by a short fixed name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from antiphon.retrieval.versions import Encoder, Version

OnBadVectors = Literal["error", "drop"]
_MAX_LISTED = 1000  # rejects in a report; the total counts all

_MEANING = {
    "encoder": "must come from the store's encoder {encoder}, but the batch comes from {batch_encoder}",
    "dim": "must have the store's {dim} dimensions, but has {batch_dim}",
    "dtype": "must be float16 or float32, but is {batch_dtype}",
    "not_finite": "must be finite, but holds NaN or infinity",
    "overflow": "must fit {dtype}, but a value or its norm is too large for it",
    "zero_norm": "must have a length above zero, but is all zeros in {dtype}",
    "no_id": "must have an id, but has none",
    "duplicate_in_batch": "must have an id of its own in its tap, but an earlier row of the batch has the same",
    "already_stored": "must have an id that is new in its tap, but the store holds it already",
}
_ADVICE = {
    "encoder": "embed with the store's checkpoint, or into a new store",
    "dim": "embed with the store's checkpoint, or into a new store",
    "dtype": "convert with .astype(np.float32)",
    "overflow": "normalise the vectors, or make the store with dtype float32",
}
_LEAVE_OUT = 'mend the row or leave bad rows out with on_bad_vectors="drop"'


@dataclass(frozen=True, kw_only=True)
class Rejected:
    """One row that was not stored. `reason` is one of the short names of this file."""

    id: str
    row: int
    reason: str


@dataclass(frozen=True, kw_only=True)
class AddReport:
    """What `add` did: rows stored, the first thousand rejects, and how many rejects there were."""

    added: int
    rejected: tuple[Rejected, ...] = ()
    rejected_total: int = 0


@dataclass(frozen=True, kw_only=True)
class Judged:
    """vectors (kept, dim) in the store's type and their norms (kept,); good (N,) says which rows were kept."""

    vectors: npt.NDArray[Any]
    norms: npt.NDArray[np.float64]
    good: npt.NDArray[np.bool_]
    rejects: tuple[Rejected, ...]
    facts: dict[str, object] = field(default_factory=dict)

    def report(self, on_bad_vectors: OnBadVectors) -> AddReport:
        """The report under "drop"; under "error" raises ValueError for the first bad row."""
        if self.rejects and on_bad_vectors == "error":
            first = self.rejects[0]
            meaning, advice = _MEANING[first.reason].format(**self.facts), _ADVICE.get(first.reason, _LEAVE_OUT)
            count = f"{len(self.rejects)} of {len(self.good)} rows are bad"
            raise ValueError(f"each vector {meaning}, in row {first.row} (id {first.id!r}; {count}); {advice}")
        listed = self.rejects[:_MAX_LISTED]
        return AddReport(added=int(self.good.sum()), rejected=listed, rejected_total=len(self.rejects))


def judge(
    vectors: npt.NDArray[Any],
    names: Sequence[tuple[str, str | None]],
    stored: Mapping[str, set[str]],
    version: Version,
    encoder: Encoder,
) -> Judged:
    """Judge each row of vectors (N, any) with its (tap, id); `stored` are the ids that each tap has already."""
    facts = {
        "encoder": version.encoder.fingerprint, "batch_encoder": encoder.fingerprint, "dim": version.dim,
        "batch_dim": vectors.shape[1], "dtype": version.dtype, "batch_dtype": vectors.dtype,
    }  # fmt: skip
    reasons: list[str | None] = [_reason_for_all(vectors, version, encoder)] * len(names)
    cast, norms = np.empty((len(names), 0), version.dtype), np.zeros(len(names))
    if names and reasons[0] is None:
        cast, norms = _judge_values(vectors, version.dtype, reasons)
        _judge_names(names, stored, reasons)
    good = np.array([reason is None for reason in reasons], dtype=bool)
    rejects = tuple(
        Rejected(id=name[1] or "", row=row, reason=reason)
        for row, (name, reason) in enumerate(zip(names, reasons, strict=True))
        if reason is not None
    )
    if rejects:
        cast, norms = cast[good], norms[good]
    return Judged(vectors=cast, norms=norms, good=good, rejects=rejects, facts=facts)


def _reason_for_all(vectors: npt.NDArray[Any], version: Version, encoder: Encoder) -> str | None:
    if encoder.fingerprint != version.encoder.fingerprint:
        return "encoder"
    if vectors.dtype not in (np.float16, np.float32):
        return "dtype"
    return "dim" if vectors.shape[1] != version.dim else None


def _judge_values(
    vectors: npt.NDArray[Any], dtype: str, reasons: list[str | None]
) -> tuple[npt.NDArray[Any], npt.NDArray[np.float64]]:
    """The vectors in the store's type and their norms as stored; writes a reason for each bad row."""
    with np.errstate(over="ignore"):
        cast = vectors.astype(dtype, copy=False)
    with np.errstate(invalid="ignore"):
        norms = np.linalg.norm(cast.astype(np.float64), axis=1)
    finite = np.isfinite(vectors).all(axis=1)
    # Partial sums of a product with a unit query stay below the norm: one that fits fp32 keeps every score finite.
    fits = norms < np.finfo(np.float32).max
    for row in np.flatnonzero(~(finite & fits & (norms > 0))):
        reasons[row] = "not_finite" if not finite[row] else "overflow" if not fits[row] else "zero_norm"
    return cast, norms


def _judge_names(
    names: Sequence[tuple[str, str | None]], stored: Mapping[str, set[str]], reasons: list[str | None]
) -> None:
    seen: set[tuple[str, str]] = set()
    for row, (tap, row_id) in enumerate(names):
        if reasons[row] is not None:
            continue
        if not row_id:
            reasons[row] = "no_id"
        elif (tap, row_id) in seen:
            reasons[row] = "duplicate_in_batch"
        elif row_id in stored[tap]:
            reasons[row] = "already_stored"
        else:
            seen.add((tap, row_id))
