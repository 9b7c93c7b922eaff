"""Convolutions over time that never look at padding: subsampling by four, and lightweight convolution."""

import torch
from torch import Tensor, nn

from antiphon.nn.mask import length_mask


class Subsampling(nn.Module):
    """Four mel frames to one encoder frame by two strided convolutions (kernel 3, stride 2), 10 ms -> 40 ms.

    One-dimensional over time with mels as channels, where the MAESTRO paper convolves in two dimensions: far less work,
    and what a band means depends on where it lies.
    """

    factor = 4

    def __init__(self, num_mels: int, channels: int, dim: int) -> None:
        super().__init__()
        self.first = nn.Conv1d(num_mels, channels, kernel_size=3, stride=2, padding=1)
        self.second = nn.Conv1d(channels, channels, kernel_size=3, stride=2, padding=1)
        self.out = nn.Linear(channels, dim)

    def forward(self, mel: Tensor, mel_len: Tensor) -> tuple[Tensor, Tensor]:
        """mel (B, T, M), mel_len (B,) -> (B, ceil(T/4), D), lengths ceil(mel_len/4)."""
        x, lengths = mel.transpose(1, 2), mel_len  # (B, M, T)
        for conv in (self.first, self.second):
            x = conv(x * length_mask(lengths, x.shape[2]).unsqueeze(1))
            x, lengths = torch.nn.functional.silu(x), (lengths + 1) // 2
        return self.out(x.transpose(1, 2)), lengths


class LightweightConv(nn.Module):
    """Depthwise convolution, its kernel softmax-normalised and shared by the channels of a head (Wu et al. 2019)."""

    def __init__(self, dim: int, kernel: int, num_heads: int) -> None:
        super().__init__()
        self.gate = nn.Linear(dim, 2 * dim)
        self.weight = nn.Parameter(torch.zeros(num_heads, kernel))
        self.out = nn.Linear(dim, dim)
        self.dim = dim

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool -> (B, T, D); residual left to the caller."""
        x = torch.nn.functional.glu(self.gate(x), dim=-1) * mask.unsqueeze(-1)
        heads, kernel = self.weight.shape
        weight = (
            self.weight.softmax(-1).repeat_interleave(self.dim // heads, dim=0).unsqueeze(1).to(x.dtype)
        )  # (D, 1, K)
        x = torch.nn.functional.conv1d(x.transpose(1, 2), weight, padding=kernel // 2, groups=self.dim)
        out: Tensor = self.out(x.transpose(1, 2))
        return out
