"""Self-attention, feed-forward and the pre-norm Transformer layer (Vaswani et al. 2017; rotary positions)."""

import torch
from torch import Tensor, nn

from antiphon.nn.position import rotate


def _attend(query_key: Tensor, value: Tensor, mask: Tensor) -> Tensor:
    """query_key (2, B, H, T, D/H), value (B, H, T, D/H), mask (B, T) -> (B, H, T, D/H)."""
    # On a CPU the kernel's backward pass takes ten times longer in bf16 as in fp32 (torch 2.13), so autocast ends here.
    on_cpu = value.device.type == "cpu"
    with torch.autocast(value.device.type, enabled=torch.is_autocast_enabled(value.device.type) and not on_cpu):
        if on_cpu:
            query_key, value = query_key.float(), value.float()
        query, key = query_key.unbind()
        return torch.nn.functional.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None, None, :])


class SelfAttention(nn.Module):
    """Multi-head self-attention over real positions, rotary positions, residual left to the caller."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % (2 * num_heads):
            raise ValueError(
                f"dim must be a multiple of twice num_heads, but dim is {dim} and num_heads is {num_heads}"
            )
        self.num_heads = num_heads
        self.qkv = nn.Linear(dim, 3 * dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool, True where real -> (B, T, D)."""
        batch, frames, dim = x.shape
        qkv = self.qkv(x).view(batch, frames, 3, self.num_heads, dim // self.num_heads)
        qkv = qkv.permute(2, 0, 3, 1, 4)  # (3, B, H, T, D/H)
        mixed = _attend(rotate(qkv[:2]), qkv[2], mask)
        out: Tensor = self.out(mixed.transpose(1, 2).reshape(batch, frames, dim))
        return out


class FeedForward(nn.Sequential):
    """LayerNorm, D -> hidden, SiLU, hidden -> D; residual left to the caller."""

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__(
            nn.LayerNorm(dim), nn.Linear(dim, hidden), nn.SiLU(), nn.Dropout(dropout), nn.Linear(hidden, dim)
        )


class TransformerLayer(nn.Module):
    """Pre-norm self-attention and feed-forward with residuals."""

    def __init__(self, dim: int, num_heads: int, ffn_dim: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim)
        self.attention = SelfAttention(dim, num_heads)
        self.ffn = FeedForward(dim, ffn_dim, dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """x (B, T, D), mask (B, T) bool -> (B, T, D)."""
        x = x + self.dropout(self.attention(self.norm(x), mask))
        out: Tensor = x + self.dropout(self.ffn(x))
        return out
