"""The transducer's lattice: the sum over all alignments, arc posteriors, the best path, durations.

A node (t, u) has read t frames and written u tokens (Graves, arXiv 1211.3711). Two arcs leave it: blank to (t+1, u),
and the next token to (t, u+1); the last arc is the blank that leaves (T-1, U). A node depends only on the anti-diagonal
t + u = d - 1 before its own, so the recursion takes T + U - 1 steps of three kernels for the whole batch. The forward
and the backward sum share these steps: the lattice turned by 180 degrees is stacked below the batch.

Log-probabilities are fp32; the recursion is float64 where the device has it. The sums reach thousands of nats on long
audio, where fp32 would blur the posteriors by parts in a thousand; a diagonal is too short for the width to cost time.

Everywhere: blank (B, T, U+1) and emit (B, T, U) log-probabilities, logit_lens (B,) in 1..T, target_lens (B,) in 0..U.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import pad

NEVER = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Occupation:
    """nll (B,) in nats, and the share of the path mass on each arc: blank (B, T, U+1), emit (B, T, U).

    Zero outside the lengths; blank sums to logit_lens, emit to target_lens.
    """

    nll: Tensor
    blank: Tensor
    emit: Tensor


def path_nll(blank: Tensor, emit: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """-> (B,) minus the log of the summed probability of all paths; no gradient."""
    arcs = _arcs(blank, emit, logit_lens, target_lens)
    _, inner = _sum_paths(arcs, len(blank), logit_lens, target_lens)
    return -(inner + _leaving(blank, logit_lens, target_lens)).to(blank.dtype)


def occupation(blank: Tensor, emit: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Occupation:
    """-> NLL and arc posteriors, which are minus its gradient by the log-probability of each arc.

    If all paths have probability zero the nll is infinite and the posteriors are zero, never NaN.
    """
    batch, frames, width = blank.shape
    turned = _arcs(blank, emit, logit_lens, target_lens, turned=True)
    forward = _arcs(blank, emit, logit_lens, target_lens)
    arcs = (torch.cat([forward[0], turned[0]], dim=1), torch.cat([forward[1], turned[1]], dim=1))
    sums, inner = _sum_paths(arcs, batch, logit_lens, target_lens)
    t = torch.arange(frames + 1, device=blank.device).unsqueeze(1)
    u = torch.arange(width + 1, device=blank.device)
    left_t = logit_lens.view(-1, 1, 1) - 1 - t
    left_u = target_lens.view(-1, 1, 1) - u  # frames and tokens from a node to the end of its own lattice
    rows = torch.arange(batch, device=blank.device).view(-1, 1, 1)
    beta = sums[(left_t + left_u).clamp(min=0), rows + batch, left_u.clamp(min=0)]  # (B, T+1, U+2)
    beta = beta.masked_fill_((left_t < 0) | (left_u < 0), NEVER)
    alpha = sums[(t + u)[:-1, :-1], rows, u[:-1]]  # (B, T, U+1)
    alpha = alpha - inner.clamp(min=torch.finfo(inner.dtype).min).view(-1, 1, 1)
    last = (left_t == 0)[:, :-1] & (left_u == 0)[:, :, :-1]
    by_blank = alpha + torch.where(last, 0.0, blank + beta[:, 1:, :-1])
    by_emit = alpha[:, :, :-1] + emit + beta[:, :-1, 1:-1]
    nll = -(inner + _leaving(blank, logit_lens, target_lens))
    return Occupation(
        nll=nll.to(blank.dtype), blank=by_blank.exp_().to(blank.dtype), emit=by_emit.exp_().to(blank.dtype)
    )


def posteriors(blank: Tensor, emit: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """-> (B, T, U) probability that token u is emitted at frame t; each real token sums to 1, padding is 0."""
    return occupation(blank, emit, logit_lens, target_lens).emit


def viterbi(blank: Tensor, emit: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """-> (B, U) int64, the frame at which the most probable path emits each token; padding 0.

    Of equally probable paths it takes the one that emits earlier.
    """
    into_blank, into_emit = (part.unbind() for part in _arcs(blank, emit, logit_lens, target_lens))
    batch, _, width = blank.shape
    steps = len(into_blank)
    best = into_blank[0].new_full((batch, width + 1), NEVER)  # column u + 1, so that column u is its left neighbour
    best[:, 1] = torch.where(target_lens >= 0, 0.0, NEVER)
    by_emit = torch.zeros(steps, batch, width, dtype=torch.bool, device=blank.device)
    for d in range(1, steps):
        stay, move = best[:, 1:] + into_blank[d], best[:, :-1] + into_emit[d]
        torch.gt(move, stay, out=by_emit[d])
        torch.maximum(stay, move, out=best[:, 1:])
    came = by_emit.to(torch.int64).unbind()
    written = target_lens.to(torch.int64).unsqueeze(1)
    path = [written]
    for d in range(steps - 1, 0, -1):  # beyond its own last node an utterance has no emit arc, so it waits at u = U
        written = written - came[d].gather(1, written)
        path.append(written)
    token = torch.arange(1, width, device=blank.device)
    reached = (torch.stack(path).transpose(0, 1) < token).sum(1)  # (B, U) the first diagonal with u >= token
    return (reached - token).masked_fill_(token > target_lens.unsqueeze(1), 0)


def durations_from_emissions(emission_frames: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """emission_frames (B, U), integers or expectations -> (B, U) frames from one emission to the next, same dtype.

    The blanks before the first emission go to the first token, those after the last to the last, so a row sums to its
    logit_lens (to 0 without tokens). Several tokens on one frame give durations of 0.
    """
    token = torch.arange(emission_frames.shape[1], device=emission_frames.device)
    left = target_lens.unsqueeze(1) - token
    start = emission_frames.masked_fill(token == 0, 0)
    end = pad(start[:, 1:], (0, 1))
    end = torch.where(left == 1, logit_lens.unsqueeze(1).to(end.dtype), end)
    return (end - start).masked_fill(left < 1, 0)


def expected_durations(emission_posteriors: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """`posteriors` (B, T, U) -> (B, U) mean of `durations_from_emissions` over all paths; a row sums to logit_lens."""
    frames = torch.arange(emission_posteriors.shape[1], device=emission_posteriors.device)
    expected = torch.einsum("btu,t->bu", emission_posteriors, frames.to(emission_posteriors.dtype))
    return durations_from_emissions(expected, logit_lens, target_lens)


def _arcs(
    blank: Tensor, emit: Tensor, logit_lens: Tensor, target_lens: Tensor, *, turned: bool = False
) -> tuple[Tensor, Tensor]:
    """The arcs into each node by anti-diagonal: into_blank, into_emit (T+U, B, U+1), -inf where there is none.

    turned: of the lattice turned by 180 degrees, where (T_b-1, U_b) is the first node and arcs run backwards.
    """
    batch, frames, width = blank.shape
    wide = torch.float32 if blank.device.type == "mps" else torch.float64
    u = torch.arange(width, device=blank.device)
    t = torch.arange(frames + width - 1, device=blank.device).view(-1, 1, 1) - u  # (T+U, 1, U+1)
    t_len, u_len = logit_lens.unsqueeze(1), target_lens.unsqueeze(1)
    real = (t >= 0) & (t < t_len) & (u <= u_len)  # (T+U, B, U+1)
    place, row = t * width + u, torch.arange(batch, device=blank.device).unsqueeze(1) * (frames * width)
    if turned:
        source = [row + (t_len - 1) * width + u_len - place] * 2
    else:
        source = [row + place - width, row + place - 1]
    none = blank.new_full((1,), NEVER, dtype=wide)
    parts = []
    for values, index, exists in zip((blank, pad(emit, (0, 1))), source, (t > 0, u > 0), strict=True):
        flat = torch.cat([values.flatten().to(wide), none])
        parts.append(flat[torch.where(real & exists, index, len(flat) - 1)])
    return parts[0], parts[1]


def _sum_paths(
    arcs: tuple[Tensor, Tensor], batch: int, logit_lens: Tensor, target_lens: Tensor
) -> tuple[Tensor, Tensor]:
    """arcs (T+U, R, U+1) -> log-sums of all paths into each node (T+U, R, U+1), and (B,) those into the last node."""
    into_blank, into_emit = arcs
    steps, rows, width = into_blank.shape
    sums = into_blank.new_full((steps, rows, width + 1), NEVER)  # column u + 1, so that column u is its left neighbour
    sums[0, :, 1] = 0.0
    node, below, left = sums[:, :, 1:].unbind(), sums[:, :, 1:].unbind(), sums[:, :, :-1].unbind()
    stay, move = torch.empty_like(into_blank[0]), torch.empty_like(into_blank[0])
    blanks, emits = into_blank.unbind(), into_emit.unbind()
    for d in range(1, steps):
        torch.add(below[d - 1], blanks[d], out=stay)
        torch.add(left[d - 1], emits[d], out=move)
        torch.logaddexp(stay, move, out=node[d])
    sums = sums[:, :, 1:]
    row = torch.arange(batch, device=sums.device)
    return sums, sums[logit_lens - 1 + target_lens, row, target_lens]


def _leaving(blank: Tensor, logit_lens: Tensor, target_lens: Tensor) -> Tensor:
    """(B,) log-probability of the blank that leaves the last node."""
    return blank[torch.arange(len(blank), device=blank.device), logit_lens - 1, target_lens]
