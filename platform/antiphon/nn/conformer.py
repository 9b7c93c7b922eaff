"""Conformer layers (Gulati et al. 2020), with rotary positions for relative ones and LayerNorm for BatchNorm.

BatchNorm would couple utterances and count padding; with LayerNorm an utterance's encoding depends on itself alone.
"""

import torch
from torch import Tensor, nn

from antiphon.nn.attention import FeedForward, SelfAttention
from antiphon.nn.conv import Subsampling
from antiphon.nn.mask import length_mask


class ConvModule(nn.Module):
    """LayerNorm, pointwise GLU, depthwise convolution over real frames, LayerNorm, SiLU, pointwise."""

    def __init__(self, dim: int, kernel: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.gate = nn.Linear(dim, 2 * dim)
        self.depthwise = nn.Conv1d(dim, dim, kernel, padding=kernel // 2, groups=dim)
        self.inner_norm = nn.LayerNorm(dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool -> (B, T, D); residual left to the caller."""
        x = torch.nn.functional.glu(self.gate(self.norm(x)), dim=-1) * mask.unsqueeze(-1)
        x = self.depthwise(x.transpose(1, 2)).transpose(1, 2)
        out: Tensor = self.out(torch.nn.functional.silu(self.inner_norm(x)))
        return out


class ConformerLayer(nn.Module):
    """Half feed-forward, self-attention, convolution, half feed-forward, LayerNorm; all with residuals."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.ffn_before = FeedForward(dim, ffn_dim, dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.conv = ConvModule(dim, kernel)
        self.ffn_after = FeedForward(dim, ffn_dim, dropout)
        self.norm = nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool, True where real -> (B, T, D)."""
        x = x + 0.5 * self.dropout(self.ffn_before(x))
        x = x + self.dropout(self.attention(self.attention_norm(x), mask))
        x = x + self.dropout(self.conv(x, mask))
        x = x + 0.5 * self.dropout(self.ffn_after(x))
        out: Tensor = self.norm(x)
        return out


class ConformerStack(nn.Module):
    """A number of Conformer layers over one sequence."""

    def __init__(self, num_layers: int, *, dim: int, num_heads: int, ffn_dim: int, kernel: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(ConformerLayer(dim, num_heads, ffn_dim, kernel, dropout) for _ in range(num_layers))

    def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
        """x (B, T, D), lengths (B,) -> (B, T, D)."""
        mask = length_mask(lengths, x.shape[1])
        for layer in self.layers:
            x = layer(x, mask)
        return x


class SpeechEncoder(nn.Module):
    """Log-mel to encoder frames: subsampling, then Conformer layers."""

    def __init__(self, subsampling: Subsampling, layers: ConformerStack) -> None:
        super().__init__()
        self.subsampling = subsampling
        self.layers = layers

    def forward(self, mel: Tensor, mel_len: Tensor) -> tuple[Tensor, Tensor]:
        """mel (B, T, M), mel_len (B,) -> e_s (B, T/4, D) and its lengths (B,)."""
        x, lengths = self.subsampling(mel, mel_len)
        return self.layers(x, lengths), lengths
