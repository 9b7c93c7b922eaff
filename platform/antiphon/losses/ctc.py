"""CTC (Graves et al. 2006): the loss of each utterance, and the frames of its best path. Blank is 0.

Lengths: frames (B,) in 1..T, target_lens (B,) in 0..U. A path needs one frame a token, and one more between two equal
tokens; an utterance with fewer frames has no path, and `infeasible` says which, so that they can be counted.
"""

import torch
from torch import Tensor

NEVER = float("-inf")


def infeasible(frames: Tensor, targets: Tensor, target_lens: Tensor) -> Tensor:
    """frames (B,), targets (B, U), target_lens (B,) -> (B,) bool, True where no path exists."""
    inside = torch.arange(targets.shape[1], device=targets.device)[1:] < target_lens.unsqueeze(1)
    repeats = ((targets[:, 1:] == targets[:, :-1]) & inside).sum(1)
    return frames < target_lens + repeats


def ctc_loss(logits: Tensor, frames: Tensor, targets: Tensor, target_lens: Tensor) -> Tensor:
    """logits (B, T, V) raw or normalised, targets (B, U) -> (B,) NLL in nats, fp32; infeasible rows give 0, not NaN."""
    log_probs = logits.float().log_softmax(-1).transpose(0, 1)  # (T, B, V)
    nll = torch.nn.functional.ctc_loss(
        log_probs, targets.long(), frames.long(), target_lens.long(), reduction="none", zero_infinity=True
    )
    return nll.masked_fill(infeasible(frames, targets, target_lens), 0.0)


@torch.no_grad()
def ctc_align(log_probs: Tensor, frames: Tensor, targets: Tensor, target_lens: Tensor) -> Tensor:
    """log_probs (B, T, V), targets (B, U) -> (B, U) int64, first frame of each token on the best path.

    Padding is 0; infeasible rows hold -1 at their tokens. States are blank, y_1, blank, y_2, ... blank; all of them and
    the whole batch move one frame a step.
    """
    batch, num_frames, _ = log_probs.shape
    tokens = targets.shape[1]
    device = log_probs.device
    label = torch.zeros(batch, 2 * tokens + 1, dtype=torch.int64, device=device)
    label[:, 1::2] = targets
    state = torch.arange(2 * tokens + 1, device=device)
    real = state < 2 * target_lens.unsqueeze(1) + 1
    seen = log_probs.float().gather(2, label.masked_fill(~real, 0).unsqueeze(1).expand(-1, num_frames, -1))
    seen = seen.masked_fill(~real.unsqueeze(1), NEVER).transpose(0, 1)  # (T, B, S)
    may_skip = torch.zeros_like(real)
    may_skip[:, 3::2] = targets[:, 1:] != targets[:, :-1]
    skip_cost = torch.zeros_like(seen[0]).masked_fill_(~may_skip, NEVER)
    best = seen[0].masked_fill(state > 1, NEVER)
    moves = []
    for t in range(1, num_frames):
        left = torch.nn.functional.pad(best, (2, 0), value=NEVER)
        best, move = torch.stack([best, left[:, 1:-1], left[:, :-2] + skip_cost]).max(0)
        running = (t < frames).unsqueeze(1)
        best = (best + seen[t]).where(running, left[:, 2:])
        moves.append(move * running)
    rows = torch.arange(batch, device=device)
    last = 2 * target_lens.long()
    before = (last - 1).clamp(min=0)
    here = torch.where(best[rows, before] > best[rows, last], before, last).unsqueeze(1)
    path = [here]
    for move in reversed(moves):
        here = here - move.gather(1, here)
        path.append(here)
    token = torch.arange(tokens, device=device)
    first = (torch.stack(path).transpose(0, 1) < 2 * token + 1).sum(1)
    first = first.masked_fill(infeasible(frames, targets, target_lens).unsqueeze(1), -1)
    return first.masked_fill(token >= target_lens.unsqueeze(1), 0)
