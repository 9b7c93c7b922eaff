"""Positions: rotary angles for attention (Su et al. 2021), sinusoids for sums (Vaswani et al. 2017, section 3.5)."""

import functools

import torch
from torch import Tensor


@functools.lru_cache(maxsize=16)
def _angles(size: int, dim: int, device: torch.device) -> tuple[Tensor, Tensor]:
    rates = 10_000.0 ** (-torch.arange(0, dim, 2, device=device) / dim)
    angles = torch.arange(size, device=device).unsqueeze(1) * rates  # (size, dim / 2)
    return angles.cos(), angles.sin()


def rotate(x: Tensor) -> Tensor:
    """x (..., T, D) -> the same, each pair of channels (i, i + D/2) of frame t turned by t times its own angle."""
    # Rounded up, so that lengths share one table instead of each keeping its own.
    cos, sin = _angles(-(-x.shape[-2] // 512) * 512, x.shape[-1], x.device)
    cos, sin = cos[: x.shape[-2]].to(x.dtype), sin[: x.shape[-2]].to(x.dtype)
    first, second = x.chunk(2, dim=-1)
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1)


def sinusoids(positions: Tensor, dim: int) -> Tensor:
    """positions (...) of any real numbers -> (..., dim): sines, then cosines, at dim/2 rates from 1 to 1/10,000."""
    rates = 10_000.0 ** (-torch.arange(0, dim, 2, device=positions.device) / dim)
    angles = positions.unsqueeze(-1) * rates
    return torch.cat([angles.sin(), angles.cos()], dim=-1)
