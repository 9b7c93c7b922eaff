"""The retrieval probe (thesis, section 10.5): does an utterance find its own text among many, and the text its speech?

Vectors of N pairs at one tap or two; the score is the cosine. Candidates have different texts: one answer is right.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.metrics import bootstrap_interval, mean_reciprocal_rank, ranks, recall_at_k

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of N queries whose own counterpart is the best of N candidates, and what chance would reach."""

    tap: str
    direction: str  # "speech -> text" or "text -> speech"
    recall_at_1: float
    interval: tuple[float, ...]  # 95 % bootstrap over queries
    recall_at_10: float
    mean_reciprocal_rank: float
    candidates: int
    chance: float


def choose_pairs(texts: Sequence[str], domains: Sequence[str], most: int, *, seed: int) -> list[int]:
    """Rows of at most so many pairs of different texts, by turns from every domain, in a seeded order."""
    order = np.random.default_rng(seed).permutation(len(texts))
    queues: dict[str, list[int]] = {name: [] for name in sorted(set(domains))}
    seen: set[str] = set()
    for row in order.tolist():
        if texts[row] not in seen:
            seen.add(texts[row])
            queues[domains[row]].append(row)
    longest = max(map(len, queues.values()), default=0)
    turns = [queue[turn] for turn in range(longest) for queue in queues.values() if turn < len(queue)]
    return sorted(turns[:most])


def probe(tap: str, speech: Vectors, text: Vectors) -> tuple[Recall, Recall]:
    """speech (N, D) and text (N, D), row i of one belonging to row i of the other -> both directions."""
    if speech.shape != text.shape or len(speech) == 0:
        raise ValueError(f"a probe needs as many vectors of speech as of text, but has {speech.shape} and {text.shape}")
    scores = _unit(speech) @ _unit(text).T  # (N speech, N text)
    return _recall(tap, "speech -> text", scores), _recall(tap, "text -> speech", scores.T)


def _recall(tap: str, direction: str, scores: Vectors) -> Recall:
    num = len(scores)
    found = ranks(scores, np.eye(num, dtype=np.bool_))
    return Recall(
        tap=tap,
        direction=direction,
        recall_at_1=recall_at_k(found, 1),
        interval=bootstrap_interval((found < 1).astype(np.int64), np.ones(num, np.int64)),
        recall_at_10=recall_at_k(found, 10),
        mean_reciprocal_rank=mean_reciprocal_rank(found),
        candidates=num,
        chance=1.0 / num,
    )


def _unit(vectors: Vectors) -> npt.NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    unit: npt.NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit
