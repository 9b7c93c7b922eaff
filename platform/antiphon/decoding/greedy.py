"""Greedy transducer decoding of a whole batch, from step functions.

Each utterance has a frame of its own (as in label looping, Bataev et al., arXiv 2406.06220): one step reads a window of
frames under the present prediction, jumps over the leading blanks of every row, and writes one token where there is one.
So a batch takes about max(U + T / window) steps, not T * symbols, and the predictor runs only on the rows that wrote.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

State = tuple[Tensor, ...]  # the predictor's memory, each tensor batch-first (B, ...)
Joint = Callable[[Tensor, Tensor], Tensor]  # enc (B, H), pred (B, H) -> raw logits (B, V)
Predict = Callable[[Tensor, State | None], tuple[Tensor, State]]  # tokens (B,), state -> pred (B, H), state


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """tokens, the frame at which each was written, and the log-probability of this path in nats."""

    tokens: list[int]
    frames: list[int]
    score: float


@torch.no_grad()
def greedy(
    enc: Tensor,
    enc_lens: Tensor,
    *,
    joint: Joint,
    predict: Predict,
    max_symbols_per_frame: int = 5,
    blank: int = 0,
    window: int = 8,
) -> list[Hypothesis]:
    """enc (B, T, H), enc_lens (B,) -> the path of the best arc at each node, one hypothesis an utterance.

    predict is first called with blanks and no state, then with the tokens written and the state of those rows. After
    max_symbols_per_frame tokens on one frame it goes on to the next without a blank. window: frames read a step; it
    changes the speed only.
    """
    if max_symbols_per_frame < 1 or window < 1:
        raise ValueError(
            f"max_symbols_per_frame and window must be at least 1, but are {max_symbols_per_frame} and {window}; raise them"
        )
    batch, frames, width = enc.shape
    frame = torch.zeros(batch, dtype=torch.int64, device=enc.device)
    here = torch.zeros_like(frame)  # tokens written on the present frame
    score = torch.zeros(batch, dtype=torch.float64 if enc.device.type != "mps" else torch.float32, device=enc.device)
    pred, state = predict(torch.full_like(frame, blank), None)
    ahead = torch.arange(window, device=enc.device)
    written: list[tuple[Tensor, Tensor, Tensor]] = []  # rows, tokens, frames
    rows = (frame < enc_lens).nonzero().squeeze(1)
    while len(rows):
        at = frame[rows].unsqueeze(1) + ahead  # (A, W)
        real = at < enc_lens[rows].unsqueeze(1)
        seen = enc[rows.unsqueeze(1), at.clamp(max=frames - 1)].flatten(0, 1)
        logits = joint(seen, pred[rows].repeat_interleave(window, dim=0)).view(len(rows), window, -1)
        best, token = logits.float().log_softmax(-1).max(-1)  # (A, W)
        speaks = (token != blank) & real
        skipped = ((speaks.cumsum(1) == 0) & real).sum(1)
        writes = speaks.any(1)
        score[rows] += (best * (real & (ahead < (skipped + writes).unsqueeze(1)))).sum(1)
        frame[rows] += skipped
        here[rows] = here[rows].where(skipped == 0, 0) + writes
        full = here[rows] >= max_symbols_per_frame
        rows_out, token_out = (
            rows[writes],
            token.gather(1, skipped.clamp(max=window - 1).unsqueeze(1)).squeeze(1)[writes],
        )
        written.append((rows_out, token_out, frame[rows_out]))
        frame[rows] += full
        here[rows] = here[rows].where(~full, 0)
        if len(rows_out):
            new_pred, new_state = predict(token_out, tuple(part[rows_out] for part in state))
            pred = pred.index_copy(0, rows_out, new_pred)
            state = tuple(old.index_copy(0, rows_out, new) for old, new in zip(state, new_state, strict=True))
        rows = (frame < enc_lens).nonzero().squeeze(1)
    return _collect(written, score)


def _collect(written: list[tuple[Tensor, Tensor, Tensor]], score: Tensor) -> list[Hypothesis]:
    tokens: list[list[int]] = [[] for _ in range(len(score))]
    frames: list[list[int]] = [[] for _ in range(len(score))]
    if written:
        columns = (torch.cat(column).tolist() for column in zip(*written, strict=True))
        for row, token, frame in zip(*columns, strict=True):
            tokens[row].append(token)
            frames[row].append(frame)
    return [Hypothesis(tokens=t, frames=f, score=s) for t, f, s in zip(tokens, frames, score.tolist(), strict=True)]
