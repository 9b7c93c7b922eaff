"""Masks by length, never by value; random spans for SpecAugment and masked prediction."""

import torch
from torch import Tensor


def length_mask(lengths: Tensor, size: int) -> Tensor:
    """lengths (B,) -> (B, size) bool, True where the position is real."""
    return torch.arange(size, device=lengths.device) < lengths.unsqueeze(1)


def span_mask(lengths: Tensor, size: int, *, share: float, span: int) -> Tensor:
    """Random spans: (B, size) bool, True inside a span; about `share` of each row's real positions, never padding.

    Starts are drawn for every position with probability share / span (as wav2vec 2.0 does), so spans may overlap and the
    expected coverage is 1 - (1 - share/span)^span.
    """
    starts = torch.rand(len(lengths), size, device=lengths.device) < share / span
    covered = torch.nn.functional.max_pool1d(
        torch.nn.functional.pad(starts.float().unsqueeze(1), (span - 1, 0)), kernel_size=span, stride=1
    ).squeeze(1)
    return (covered > 0) & length_mask(lengths, size)
