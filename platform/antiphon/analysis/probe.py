"""The retrieval probe (thesis, section 10.5): does an utterance find its own text among many, and the text its speech?

Vectors of speech and of text at one tap or two; the score is the cosine. Of pairs, row i answers row i; where several
recordings say the same (spoken digits), every one of them is an answer, and precision@10 counts how many come first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.metrics import bootstrap_interval, mean_reciprocal_rank, precision_at_k, ranks, recall_at_k

Vectors = npt.NDArray[np.floating]


@dataclass(frozen=True, kw_only=True)
class Recall:
    """Share of queries whose best candidate is an answer, and what chance would reach."""

    tap: str
    direction: str  # "speech -> text" or "text -> speech"
    recall_at_1: float
    interval: tuple[float, ...]  # 95 % bootstrap over queries
    recall_at_10: float
    precision_at_10: float
    mean_reciprocal_rank: float
    candidates: int
    chance: float

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.tap:<14}{self.direction:<16}R@1 {self.recall_at_1:.3f} ({low:.3f}-{high:.3f})  "
            f"R@10 {self.recall_at_10:.3f}  P@10 {self.precision_at_10:.3f}  chance {self.chance:.4f}  "
            f"of {self.candidates:,}"
        )


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


def probe(
    tap: str, speech: Vectors, text: Vectors, answers: npt.NDArray[np.bool_] | None = None
) -> tuple[Recall, Recall]:
    """speech (N, D), text (M, D), answers (N, M) true where they say the same -> both directions.

    Without answers N is M and row i belongs to row i. Raises ValueError when the shapes do not fit.
    """
    if answers is None and len(speech) == len(text):
        answers = np.eye(len(speech), dtype=np.bool_)
    if answers is None or answers.shape != (len(speech), len(text)) or answers.size == 0:
        raise ValueError(f"a probe needs as many vectors of speech as of text, but has {speech.shape} and {text.shape}")
    scores = _unit(speech) @ _unit(text).T  # (N speech, M text)
    return _recall(tap, "speech -> text", scores, answers), _recall(tap, "text -> speech", scores.T, answers.T)


def probe_texts(
    tap: str, speech: Vectors, spoken: Sequence[str], text: Vectors, written: Sequence[str]
) -> list[Recall]:
    """As `probe`, for any sets: an answer is whatever has the same words; each text is a candidate once.

    speech (N, D) says spoken (N,), text (M, D) is of written (M,). Empty when no text is spoken.
    """
    first = {words: row for row, words in reversed(list(enumerate(written)))}
    rows = sorted(first.values())
    names = np.array([written[row] for row in rows], dtype=object)
    answers = np.array(spoken, dtype=object)[:, None] == names
    asked, known = answers.any(axis=1), answers.any(axis=0)
    if not asked.any():
        return []
    to_text = probe(tap, speech[asked], text[rows], answers[asked])[0]
    to_speech = probe(tap, speech, text[rows][known], answers[:, known])[1]
    return [to_text, to_speech]


def _recall(tap: str, direction: str, scores: Vectors, answers: npt.NDArray[np.bool_]) -> Recall:
    found = ranks(scores, answers)
    return Recall(
        tap=tap,
        direction=direction,
        recall_at_1=recall_at_k(found, 1),
        interval=bootstrap_interval((found < 1).astype(np.int64), np.ones(len(found), np.int64)),
        recall_at_10=recall_at_k(found, 10),
        precision_at_10=float(precision_at_k(scores, answers, 10).mean()),
        mean_reciprocal_rank=mean_reciprocal_rank(found),
        candidates=scores.shape[1],
        chance=float(answers.mean()),
    )


def _unit(vectors: Vectors) -> npt.NDArray[np.float64]:
    exact = vectors.astype(np.float64)
    unit: npt.NDArray[np.float64] = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit
