"""Masks by length, never by value; random spans for SpecAugment and masked prediction."""

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """lengths (B,) -> (B, size) bool, True where the position is real."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def span_mask(lengths: Tensor, size: int, *, share: float, span: int) -> Tensor:
    """Random spans: (B, size) bool, True inside a span, never on padding; `share` of positions expected.

    Each position starts a span with a probability that makes the union of overlapping spans cover `share`
    (1 - (1 - start)^span = share). The draw depends on the lengths alone, so more padding changes no mask.
    """
    if share <= 0.0:
        return torch.zeros(len(lengths), size, dtype=torch.bool, device=lengths.device)
    longest = min(int(lengths.max()), size)
    start = 1.0 - (1.0 - min(share, 0.999)) ** (1.0 / span)
    # Drawn from span - 1 positions before the first, so that the first frames are as often covered as the others.
    starts = (torch.rand(len(lengths), longest + span - 1, device=lengths.device) < start).float()
    covered = torch.nn.functional.max_pool1d(starts.unsqueeze(1), kernel_size=span, stride=1).squeeze(1) > 0
    padded = torch.nn.functional.pad(covered, (0, size - longest))
    return padded & length_mask(lengths, size)


def masked_mean(x: Tensor, lengths: Tensor) -> Tensor:
    """x (B, T, ...) -> (B, ...): the mean over each row's real positions."""
    mask = length_mask(lengths, x.shape[1]).view(*x.shape[:2], *[1] * (x.dim() - 2))
    total = (x * mask).sum(1)
    return total / lengths.clamp(min=1).view(-1, *[1] * (x.dim() - 2))
