"""Transducer loss (Graves, arXiv 1211.3711): over given logits, or fused with the joint so that logits are never held whole.

The fused form is for the joint `logits = tanh(enc + pred) W^T + b`. It looks only at real nodes (t < T_b, u <= U_b), in
chunks of a stated number of bytes; the forward pass keeps two log-probabilities a node, runs the lattice (lattice.py), and
the backward pass weights each node's softmax by its share of the path mass:

    d nll / d logits(t, u, v) = occ(t, u) softmax(t, u, v) - occ_blank(t, u) [v = blank] - occ_emit(t, u) [v = y_{u+1}]

with occ = occ_blank + occ_emit. Where everything fits into the bytes it is kept for the backward pass, else computed again.
All in fp32, under autocast too; float64 inputs stay float64.
"""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable

from antiphon.losses.lattice import Occupation, occupation, path_nll

MAX_BYTES = 256 << 20


def transducer_loss(
    logits: Tensor, targets: Tensor, logit_lens: Tensor, target_lens: Tensor, *, blank: int = 0
) -> Tensor:
    """logits (B, T, U+1, V) raw, targets (B, U), logit_lens (B,), target_lens (B,) -> (B,) NLL in nats.

    Raises ValueError for lengths outside 1..T and 0..U, and for real targets that are blank or outside 0..V-1.
    """
    batch, frames, width, vocab = logits.shape
    check(targets, logit_lens, target_lens, shape=(batch, frames, width - 1, vocab), blank=blank)
    return cast(Tensor, _Loss.apply(_full(logits), targets, logit_lens, target_lens, blank))


def transducer_loss_fused(
    enc: Tensor,
    pred: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    targets: Tensor,
    enc_lens: Tensor,
    target_lens: Tensor,
    *,
    blank: int = 0,
    max_bytes: int = MAX_BYTES,
    prune: float = 0.0,
) -> Tensor:
    """enc (B, T, H), pred (B, U+1, H), out_weight (V, H), out_bias (V,), targets (B, U), lengths (B,) -> (B,) NLL in nats.

    max_bytes bounds what the joint holds at any time, beside inputs, gradients and the (B, T, U+1) lattices. prune: nodes
    whose share of the path mass is at most this get no gradient; 0 is exact, since only nodes with no share at all fall
    away. By each dropped node the gradient of a logit row changes by at most 2 * prune (sum of magnitudes).
    Raises ValueError as `transducer_loss` does.
    """
    joint = _Joint.of(enc, pred, out_weight, out_bias, targets, enc_lens, target_lens, blank=blank, max_bytes=max_bytes)
    inputs = (_full(enc), _full(pred), _full(out_weight), _full(out_bias))
    return cast(Tensor, _FusedLoss.apply(*inputs, joint, prune))


@torch.no_grad()
def lattice(
    enc: Tensor,
    pred: Tensor,
    out_weight: Tensor,
    out_bias: Tensor,
    targets: Tensor,
    enc_lens: Tensor,
    target_lens: Tensor,
    *,
    blank: int = 0,
    max_bytes: int = MAX_BYTES,
) -> tuple[Tensor, Tensor]:
    """As `transducer_loss_fused` -> log-probabilities of blank (B, T, U+1) and of the next token (B, T, U); 0 in padding."""
    joint = _Joint.of(enc, pred, out_weight, out_bias, targets, enc_lens, target_lens, blank=blank, max_bytes=max_bytes)
    blanks, emits, _ = joint.log_probs(_full(enc), _full(pred), _full(out_weight), _full(out_bias), keep=False)
    return blanks, emits


def check(targets: Tensor, logit_lens: Tensor, target_lens: Tensor, *, shape: tuple[int, ...], blank: int) -> None:
    """Refuses lengths and targets that do not fit shape (B, T, U, V); one synchronisation with the device."""
    batch, frames, tokens, vocab = shape
    for name, tensor, want in (
        ("targets", targets, (batch, tokens)),
        ("logit_lens", logit_lens, (batch,)),
        ("target_lens", target_lens, (batch,)),
    ):
        if tuple(tensor.shape) != want:
            raise ValueError(
                f"{name} must have shape {want}, but has {tuple(tensor.shape)}; pad the batch to the joint's shape"
            )
    real = torch.arange(tokens, device=targets.device) < target_lens.unsqueeze(1)
    bad_token = ((targets < 0) | (targets >= vocab) | (targets == blank)) & real
    wrong = torch.stack(
        [
            (logit_lens < 1) | (logit_lens > frames),
            (target_lens < 0) | (target_lens > tokens),
            bad_token.any(1),
        ]
    )
    if not bool(wrong.any()):
        return
    rule, row = (int(i) for i in wrong.nonzero()[0])
    raise ValueError(
        (
            f"logit_lens must lie in 1..{frames}, but row {row} has {int(logit_lens[row])}; count frames after subsampling",
            f"target_lens must lie in 0..{tokens}, but row {row} has {int(target_lens[row])}; count tokens without padding",
            f"targets must lie in 0..{vocab - 1} and not be the blank {blank}, but row {row} has "
            f"{targets[row, : int(target_lens[row])].tolist()}; check the tokenizer",
        )[rule]
    )


def _full(x: Tensor) -> Tensor:
    return x if x.dtype == torch.float64 else x.float()


class _Loss(torch.autograd.Function):
    """The loss over given logits; keeps one (B, T, U+1, V) of log-probabilities, and the gradient is a second."""

    @staticmethod
    def forward(
        ctx: Any, logits: Tensor, targets: Tensor, logit_lens: Tensor, target_lens: Tensor, blank: int
    ) -> Tensor:
        log_probs = logits.log_softmax(-1)
        real = torch.arange(targets.shape[1], device=targets.device) < target_lens.unsqueeze(1)
        index = targets.where(real, blank).to(torch.int64)[:, None, :, None].expand(-1, logits.shape[1], -1, -1)
        blanks, emits = log_probs[..., blank], log_probs[:, :, :-1].gather(3, index).squeeze(3)
        if not ctx.needs_input_grad[0]:
            return path_nll(blanks, emits, logit_lens, target_lens)
        share = occupation(blanks, emits, logit_lens, target_lens)
        ctx.save_for_backward(log_probs, index, share.blank, share.emit)
        ctx.blank = blank
        return share.nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        log_probs, index, blank, emit = ctx.saved_tensors
        scale = grad.view(-1, 1, 1)
        blank, emit = blank * scale, emit * scale
        by_node = blank.clone()
        by_node[:, :, :-1] += emit
        d_logits = log_probs.exp().mul_(by_node.unsqueeze(3))
        d_logits[..., ctx.blank] -= blank
        d_logits[:, :, :-1].scatter_add_(3, index, -emit.unsqueeze(3))
        return d_logits, None, None, None, None


@dataclass(frozen=True, kw_only=True)
class _Joint:
    """The real nodes of a batch of lattices, flat: where each reads enc and pred, and its next token."""

    shape: tuple[int, int, int]  # B, T, U+1
    logit_lens: Tensor
    target_lens: Tensor
    node: Tensor  # (N,) place in the flat (B, T, U+1)
    frame: Tensor  # (N,) row of the flat enc (B*T, H)
    label: Tensor  # (N,) row of the flat pred (B*(U+1), H)
    token: Tensor  # (N,) the next token; blank where u = U_b
    blank: int
    max_bytes: int

    @classmethod
    def of(
        cls, enc: Tensor, pred: Tensor, weight: Tensor, bias: Tensor, targets: Tensor, enc_lens: Tensor, target_lens: Tensor,
        *, blank: int, max_bytes: int,
    ) -> "_Joint":  # fmt: skip
        (batch, frames, _), width = enc.shape, pred.shape[1]
        check(targets, enc_lens, target_lens, shape=(batch, frames, width - 1, len(weight)), blank=blank)
        t = torch.arange(frames, device=enc.device).view(-1, 1)
        u = torch.arange(width, device=enc.device)
        real = (t < enc_lens.view(-1, 1, 1)) & (u <= target_lens.view(-1, 1, 1))
        node = real.flatten().nonzero().squeeze(1)
        frame = node.div(width, rounding_mode="floor")
        label = node.div(frames * width, rounding_mode="floor") * width + node % width
        inside = u[:-1] < target_lens.unsqueeze(1)
        tokens = torch.nn.functional.pad(targets.to(torch.int64).where(inside, blank), (0, 1), value=blank)
        return cls(
            shape=(batch, frames, width), logit_lens=enc_lens, target_lens=target_lens, node=node, frame=frame,
            label=label, token=tokens.flatten()[label], blank=blank, max_bytes=max_bytes,
        )  # fmt: skip

    def log_probs(
        self, enc: Tensor, pred: Tensor, weight: Tensor, bias: Tensor, *, keep: bool
    ) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
        """-> blank (B, T, U+1), emit (B, T, U), and if kept tanh(enc + pred) (N, H) and the softmax (N, V)."""
        blanks = enc.new_zeros(self.shape)
        emits = enc.new_zeros(self.shape)
        kept = (
            (enc.new_empty(len(self.node), enc.shape[2]), enc.new_empty(len(self.node), len(weight))) if keep else None
        )
        for start, stop in self.chunks(enc, weight, kept is not None):
            hidden, logits = self.logits(enc, pred, weight, bias, slice(start, stop))
            log_probs = logits.log_softmax(1)
            node = self.node[start:stop]
            blanks.view(-1)[node] = log_probs[:, self.blank]
            emits.view(-1)[node] = log_probs.gather(1, self.token[start:stop].unsqueeze(1)).squeeze(1)
            if kept is not None:
                kept[0][start:stop] = hidden
                torch.exp(log_probs, out=kept[1][start:stop])
        return blanks, emits[:, :, :-1], kept

    def logits(
        self, enc: Tensor, pred: Tensor, weight: Tensor, bias: Tensor, nodes: Tensor | slice
    ) -> tuple[Tensor, Tensor]:
        """-> tanh(enc + pred) (n, H) and its logits (n, V) at some of the nodes."""
        hidden = enc.flatten(0, 1).index_select(0, self.frame[nodes])
        hidden = hidden.add_(pred.flatten(0, 1).index_select(0, self.label[nodes])).tanh_()
        return hidden, torch.addmm(bias, hidden, weight.t())

    def chunks(self, enc: Tensor, weight: Tensor, kept: bool) -> list[tuple[int, int]]:
        size = 1024
        return [(i, min(i + size, len(self.node))) for i in range(0, len(self.node), size)]


class _FusedLoss(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, pred: Tensor, weight: Tensor, bias: Tensor, joint: _Joint, prune: float
    ) -> Tensor:
        learns = any(ctx.needs_input_grad)
        with torch.autocast(enc.device.type, enabled=False):
            blanks, emits, kept = joint.log_probs(enc, pred, weight, bias, keep=learns)
        if not learns:
            return path_nll(blanks, emits, joint.logit_lens, joint.target_lens)
        share = occupation(blanks, emits, joint.logit_lens, joint.target_lens)
        ctx.save_for_backward(enc, pred, weight, bias, share.blank, share.emit, *(kept or ()))
        ctx.joint, ctx.prune = joint, prune
        return share.nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        enc, pred, weight, bias, by_blank, by_emit, *kept = ctx.saved_tensors
        joint: _Joint = ctx.joint
        by_emit = torch.nn.functional.pad(by_emit, (0, 1))
        by_node = by_blank + by_emit
        nodes = (by_node.flatten()[joint.node] > ctx.prune).nonzero().squeeze(1)
        d_enc, d_pred = torch.zeros_like(enc), torch.zeros_like(pred)
        d_weight, d_bias = torch.zeros_like(weight), torch.zeros_like(bias)
        scale = grad.view(-1, 1, 1)
        shares = [(part * scale).flatten() for part in (by_node, by_blank, by_emit)]
        with torch.autocast(enc.device.type, enabled=False):
            for some in nodes.split(1024):
                if kept:
                    hidden, d_logits = kept[0].index_select(0, some), kept[1].index_select(0, some)
                else:
                    hidden, d_logits = joint.logits(enc, pred, weight, bias, some)
                    d_logits = d_logits.softmax(1)
                node, blank, emit = (part[joint.node[some]].unsqueeze(1) for part in shares)
                d_logits.mul_(node)
                d_logits[:, joint.blank] -= blank.squeeze(1)
                d_logits.scatter_add_(1, joint.token[some].unsqueeze(1), -emit)
                d_weight.addmm_(d_logits.t(), hidden)
                d_bias += d_logits.sum(0)
                d_hidden = (d_logits @ weight).mul_(1 - hidden.square_())
                d_enc.view(-1, enc.shape[2]).index_add_(0, joint.frame[some], d_hidden)
                d_pred.view(-1, enc.shape[2]).index_add_(0, joint.label[some], d_hidden)
        return d_enc, d_pred, d_weight, d_bias, None, None
