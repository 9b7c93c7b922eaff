"""Transducer loss (Graves, arXiv 1211.3711) over given logits, or fused with the joint that makes them chunk by chunk.

Both have a backward pass of their own, from the arc posteriors of lattice.py, and work in fp32 (under autocast too);
float64 stays float64. Measured by tests/benchmarks/transducer.py.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from antiphon.losses.joint import FusedLoss, Joint, Nodes, log_probs, pick_nodes
from antiphon.losses.lattice import occupation, path_nll

MAX_BYTES = 256 << 20


def transducer_loss(
    logits: Tensor, targets: Tensor, logit_lens: Tensor, target_lens: Tensor, *, blank: int = 0
) -> Tensor:
    """logits (B, T, U+1, V) raw, targets (B, U), logit_lens (B,), target_lens (B,) -> (B,) NLL in nats.

    Raises ValueError for lengths outside 1..T and 0..U, and for real targets that are blank or outside 0..V-1.
    """
    batch, frames, width, vocab = logits.shape
    _check(targets, logit_lens, target_lens, shape=(batch, frames, width - 1, vocab), blank=blank)
    logits, tokens = _wide(logits), _next_tokens(targets, target_lens, blank)
    if _learns(logits):
        loss: Tensor = _Loss.apply(logits, tokens, logit_lens, target_lens, blank)  # type: ignore[no-untyped-call]
        return loss
    return path_nll(*_arcs(logits.log_softmax(-1), tokens, blank), logit_lens, target_lens)


def transducer_loss_fused(
    enc: Tensor, pred: Tensor, out_weight: Tensor, out_bias: Tensor, targets: Tensor,
    enc_lens: Tensor, target_lens: Tensor, *, blank: int = 0, max_bytes: int = MAX_BYTES, prune: float = 0.0,
) -> Tensor:  # fmt: skip
    """Loss of logits = tanh(enc + pred) W^T + b, as (B,) NLL in nats.

    enc (B, T, H), pred (B, U+1, H), out_weight (V, H), out_bias (V,), targets (B, U), enc_lens (B,), target_lens (B,).
    max_bytes bounds what the joint holds beside its inputs, their gradients and tensors of B*T*(U+1) numbers (but it
    takes at least one node at a time). prune: nodes whose share of the path mass is at most this get no gradient. 0 is
    exact, since only nodes without any share fall away; each node that falls away moves the gradient of its logits by
    at most 2 * prune, summed over V. Raises ValueError as `transducer_loss` does.
    """
    joint = Joint(_wide(enc).contiguous(), _wide(pred).contiguous(), _wide(out_weight), _wide(out_bias))
    nodes = _checked_nodes(joint, targets, enc_lens, target_lens, blank=blank, max_bytes=max_bytes)
    if _learns(*joint):
        loss: Tensor = FusedLoss.apply(*joint, nodes, prune)  # type: ignore[no-untyped-call]
        return loss
    with torch.autocast(enc.device.type, enabled=False):
        return path_nll(*log_probs(joint, nodes), enc_lens, target_lens)


@torch.no_grad()
def lattice(
    enc: Tensor, pred: Tensor, out_weight: Tensor, out_bias: Tensor, targets: Tensor,
    enc_lens: Tensor, target_lens: Tensor, *, blank: int = 0, max_bytes: int = MAX_BYTES,
) -> tuple[Tensor, Tensor]:  # fmt: skip
    """As `transducer_loss_fused` -> log-probabilities of blank (B, T, U+1), next token (B, T, U); 0 in padding."""
    joint = Joint(_wide(enc).contiguous(), _wide(pred).contiguous(), _wide(out_weight), _wide(out_bias))
    nodes = _checked_nodes(joint, targets, enc_lens, target_lens, blank=blank, max_bytes=max_bytes)
    with torch.autocast(enc.device.type, enabled=False):
        return log_probs(joint, nodes)


def _checked_nodes(
    joint: Joint, targets: Tensor, enc_lens: Tensor, target_lens: Tensor, *, blank: int, max_bytes: int
) -> Nodes:
    (batch, frames, _), width, vocab = joint.enc.shape, joint.pred.shape[1], len(joint.weight)
    _check(targets, enc_lens, target_lens, shape=(batch, frames, width - 1, vocab), blank=blank)
    tokens = _next_tokens(targets, target_lens, blank)
    return pick_nodes(joint, tokens, enc_lens, target_lens, blank=blank, max_bytes=max_bytes)


def _check(targets: Tensor, logit_lens: Tensor, target_lens: Tensor, *, shape: tuple[int, ...], blank: int) -> None:
    """Refuses lengths and targets that do not fit shape (B, T, U, V); one synchronisation with the device."""
    batch, frames, tokens, vocab = shape
    wanted = {"targets": (batch, tokens), "logit_lens": (batch,), "target_lens": (batch,)}
    for (name, want), tensor in zip(wanted.items(), (targets, logit_lens, target_lens), strict=True):
        if tuple(tensor.shape) != want:
            raise ValueError(
                f"{name} must have shape {want}, but has {tuple(tensor.shape)}; pad to the joint's (B, T, U+1)"
            )
    real = torch.arange(tokens, device=targets.device) < target_lens.unsqueeze(1)
    strange = ((targets < 0) | (targets >= vocab) | (targets == blank)) & real
    too_short, too_long = logit_lens < 1, logit_lens > frames
    wrong = torch.stack([too_short | too_long, (target_lens < 0) | (target_lens > tokens), strange.any(1)])
    if not wrong.any():
        return
    rule, row = (int(i) for i in wrong.nonzero()[0])
    size = int(target_lens[row])
    raise ValueError(
        (
            f"frames must number 1..{frames}, but row {row} has {int(logit_lens[row])}; count them after subsampling",
            f"target_lens must lie in 0..{tokens}, but row {row} has {size}; count tokens without their padding",
            f"targets must lie in 0..{vocab - 1} and not be the blank {blank}, but row {row} has "
            f"{targets[row, : max(size, 0)].tolist()}; check the tokenizer",
        )[rule]
    )


def _wide(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


def _learns(*inputs: Tensor) -> bool:
    return torch.is_grad_enabled() and any(part.requires_grad for part in inputs)


def _next_tokens(targets: Tensor, target_lens: Tensor, blank: int) -> Tensor:
    """(B, U) int64, blank in padding, where targets may hold anything."""
    real = torch.arange(targets.shape[1], device=targets.device) < target_lens.unsqueeze(1)
    return targets.long().where(real, blank)


def _arcs(values: Tensor, tokens: Tensor, blank: int) -> tuple[Tensor, Tensor]:
    """values (B, T, U+1, V) -> those of blank (B, T, U+1) and of the next token (B, T, U)."""
    index = tokens[:, None, :, None].expand(-1, values.shape[1], -1, -1)
    return values[..., blank], values[:, :, :-1].gather(3, index).squeeze(3)


class _Loss(torch.autograd.Function):
    """The loss over given logits; keeps one (B, T, U+1, V) of log-probabilities, and the gradient is a second."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, tokens: Tensor, logit_lens: Tensor, target_lens: Tensor, blank: int
    ) -> Tensor:
        whole = logits.log_softmax(-1)
        taken = occupation(*_arcs(whole, tokens, blank), logit_lens, target_lens)
        ctx.save_for_backward(whole, tokens, taken.blank, taken.emit)
        ctx.blank = blank
        return taken.nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        whole, tokens, blank, emit = ctx.saved_tensors
        scale = grad.view(-1, 1, 1)
        blank, emit = blank * scale, emit * scale
        d_logits = whole.exp().mul_((blank + pad(emit, (0, 1))).unsqueeze(3))
        d_logits[..., ctx.blank] -= blank
        index = tokens[:, None, :, None].expand(-1, emit.shape[1], -1, -1)
        d_logits[:, :, :-1].scatter_add_(3, index, -emit.unsqueeze(3))
        return d_logits, None, None, None, None
