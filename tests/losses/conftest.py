"""The oracle of the lattice tests: every path of a tiny lattice, one by one, and random tiny batches."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import combinations_with_replacement

import pytest
import torch
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Case:
    """A ragged tiny batch in float64: T = 1 and U = 0 are among its rows."""

    enc: Tensor
    pred: Tensor
    weight: Tensor
    bias: Tensor
    targets: Tensor
    enc_lens: Tensor
    target_lens: Tensor

    @property
    def joint(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.enc, self.pred, self.weight, self.bias

    @property
    def labels(self) -> tuple[Tensor, Tensor, Tensor]:
        return self.targets, self.enc_lens, self.target_lens

    def logits(self) -> Tensor:
        return torch.tanh(self.enc.unsqueeze(2) + self.pred.unsqueeze(1)) @ self.weight.t() + self.bias


def make_case(
    seed: int,
    *,
    lens: tuple[tuple[int, int], ...] = ((5, 3), (1, 2), (4, 0), (3, 1), (1, 0)),
    vocab: int = 6,
    hidden: int = 4,
    dtype: torch.dtype = torch.float64,
) -> Case:
    torch.manual_seed(seed)
    enc_lens, target_lens = (torch.tensor(column) for column in zip(*lens, strict=True))
    frames, tokens, batch = int(enc_lens.max()), int(target_lens.max()), len(lens)
    shapes = (batch, frames, hidden), (batch, tokens + 1, hidden), (vocab, hidden), (vocab,)
    enc, pred, weight, bias = (torch.randn(shape, dtype=dtype, requires_grad=True) for shape in shapes)
    return Case(
        enc=enc,
        pred=pred,
        weight=weight,
        bias=bias,
        targets=torch.randint(1, vocab, (batch, tokens)),
        enc_lens=enc_lens,
        target_lens=target_lens,
    )


def all_paths(blank: Tensor, emit: Tensor, frames: int, tokens: int) -> tuple[Tensor, Tensor]:
    """One utterance, blank (T, U+1), emit (T, U) -> log-probability of each path (P,), its emission frames (P, U)."""
    found = list(combinations_with_replacement(range(frames), tokens))
    scores = []
    for emitted_at in found:
        score, written = blank.new_zeros(()), 0
        for t in range(frames):
            while written < tokens and emitted_at[written] == t:
                score, written = score + emit[t, written], written + 1
            score = score + blank[t, written]
        scores.append(score)
    return torch.stack(scores), torch.tensor(found, dtype=torch.int64).view(len(found), tokens)


@pytest.fixture(name="make_case")
def _make_case() -> Callable[..., Case]:
    return make_case


@pytest.fixture(name="all_paths")
def _all_paths() -> Callable[[Tensor, Tensor, int, int], tuple[Tensor, Tensor]]:
    return all_paths
