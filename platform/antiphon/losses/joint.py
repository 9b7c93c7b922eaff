"""The transducer's joint and its loss in one operation, in chunks of nodes; transducer.py is its public face.

The joint is `logits = tanh(enc + pred) W^T + b`. Only real nodes (t < T_b, u <= U_b) are looked at, laid out flat, so
padding costs nothing. The forward pass takes two log-probabilities a node and runs the lattice (lattice.py). The
backward pass weights each node's softmax by its share of the path mass, occ = occ_blank + occ_emit:

    d nll / d logits(t, u, v) = occ(t, u) softmax(t, u, v) - occ_blank(t, u) [v = blank] - occ_emit(t, u) [v = y_{u+1}]

Where the softmax of all nodes fits into the given bytes it is kept for the backward pass, else it is computed again;
tanh always is, since that takes no longer than to write and read it.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import pad

from antiphon.losses.lattice import occupation

CPU_CHUNK = 1024  # nodes; more do not speed up a matrix product, fewer stay in the cache from one kernel to the next
WORK = 2  # at its peak a chunk holds this many times H + V numbers a node


class Joint(NamedTuple):
    """enc (B, T, H), pred (B, U+1, H), weight (V, H), bias (V,), of one floating type; enc and pred contiguous."""

    enc: Tensor
    pred: Tensor
    weight: Tensor
    bias: Tensor


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """The N real nodes of a batch of lattices, ordered by utterance, frame, tokens; and how many to take at a time."""

    shape: tuple[int, int, int]  # B, T, U+1
    enc_lens: Tensor
    target_lens: Tensor
    place: Tensor  # (N,) in the flat (B, T, U+1)
    frame: Tensor  # (N,) row of the flat enc (B*T, H)
    prefix: Tensor  # (N,) row of the flat pred (B*(U+1), H)
    token: Tensor  # (N,) the next token; blank where u = U_b
    blank: int
    chunk: int
    keep: bool


def pick_nodes(
    joint: Joint, tokens: Tensor, enc_lens: Tensor, target_lens: Tensor, *, blank: int, max_bytes: int
) -> Nodes:
    """Nodes of checked tokens (B, U), blank in padding, and lengths (B,); one synchronisation with the device."""
    (batch, frames, hidden), width, device = joint.enc.shape, joint.pred.shape[1], joint.enc.device
    t = torch.arange(frames, device=device).unsqueeze(1)
    u = torch.arange(width, device=device)
    real = (t < enc_lens.view(-1, 1, 1)) & (u <= target_lens.view(-1, 1, 1))
    place = real.flatten().nonzero().squeeze(1)
    frame = place.div(width, rounding_mode="floor")
    prefix = frame.div(frames, rounding_mode="floor") * width + place % width
    vocab, number_bytes = joint.weight.shape[0], joint.enc.element_size()
    node_bytes = WORK * (hidden + vocab) * number_bytes
    most = CPU_CHUNK if device.type == "cpu" else len(place)
    chunk = max(1, min(max_bytes // node_bytes, len(place), most))
    return Nodes(
        shape=(batch, frames, width),
        enc_lens=enc_lens,
        target_lens=target_lens,
        place=place,
        frame=frame,
        prefix=prefix,
        token=pad(tokens, (0, 1), value=blank).flatten()[prefix],
        blank=blank,
        chunk=chunk,
        keep=len(place) * vocab * number_bytes + chunk * node_bytes <= max_bytes,
    )


def log_probs(joint: Joint, nodes: Nodes, kept: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """-> blank (B, T, U+1) and next token (B, T, U), 0 in padding; fills `kept` (N, V) with the softmax."""
    blank, emit = joint.enc.new_zeros(nodes.shape), joint.enc.new_zeros(nodes.shape)
    for start in range(0, len(nodes.place), nodes.chunk):
        some = slice(start, start + nodes.chunk)
        two = _chunk_log_probs(joint, nodes, some, None if kept is None else kept[some])
        blank.view(-1)[nodes.place[some]], emit.view(-1)[nodes.place[some]] = two
    return blank, emit[:, :, :-1]


class FusedLoss(torch.autograd.Function):
    """(enc, pred, weight, bias, nodes, prune) -> (B,) NLL; see transducer.transducer_loss_fused."""

    @staticmethod
    def forward(
        ctx: Any, enc: Tensor, pred: Tensor, weight: Tensor, bias: Tensor, nodes: Nodes, prune: float
    ) -> Tensor:
        joint = Joint(enc, pred, weight, bias)
        kept = enc.new_empty(len(nodes.place), len(weight)) if nodes.keep else None
        with torch.autocast(enc.device.type, enabled=False):
            blank, emit = log_probs(joint, nodes, kept)
        taken = occupation(blank, emit, nodes.enc_lens, nodes.target_lens)
        ctx.save_for_backward(*joint, taken.blank, taken.emit, kept)
        ctx.nodes, ctx.prune = nodes, prune
        return taken.nll

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        enc, pred, weight, bias, by_blank, by_emit, kept = ctx.saved_tensors
        joint, nodes = Joint(enc, pred, weight, bias), ctx.nodes
        by_blank, by_emit = by_blank.flatten()[nodes.place], pad(by_emit, (0, 1)).flatten()[nodes.place]
        counted = ((by_blank + by_emit) > ctx.prune).nonzero().squeeze(1)
        scale = grad[nodes.place.div(nodes.shape[1] * nodes.shape[2], rounding_mode="floor")]
        by_blank, by_emit = by_blank * scale, by_emit * scale
        grads = Joint(*(part.new_zeros(part.shape) for part in joint))
        with torch.autocast(enc.device.type, enabled=False):
            for some in counted.split(nodes.chunk):
                _chunk_backward(grads, joint, nodes, some, by_blank[some], by_emit[some], kept)
        return *grads, None, None


def _hidden(joint: Joint, nodes: Nodes, some: slice | Tensor) -> Tensor:
    """tanh(enc + pred) (n, H) at some nodes, as 2 sigmoid(2x) - 1, which takes a fifth of the time on a CPU."""
    hidden = joint.enc.flatten(0, 1).index_select(0, nodes.frame[some])
    hidden.add_(joint.pred.flatten(0, 1).index_select(0, nodes.prefix[some]))
    return hidden.mul_(2).sigmoid_().mul_(2).sub_(1)


def _logits(joint: Joint, hidden: Tensor) -> Tensor:
    return torch.addmm(joint.bias, hidden, joint.weight.t())


def _chunk_log_probs(joint: Joint, nodes: Nodes, some: slice, kept: Tensor | None) -> tuple[Tensor, Tensor]:
    logits = _logits(joint, _hidden(joint, nodes, some))
    share = torch.softmax(logits, 1, out=kept)
    norm = logits.amax(1) - share.amax(1).log()  # log-sum-exp without a second exponential; the largest share is >= 1/V
    emit = logits.gather(1, nodes.token[some].unsqueeze(1)).squeeze(1)
    return logits[:, nodes.blank] - norm, emit - norm


def _chunk_backward(
    grads: Joint, joint: Joint, nodes: Nodes, some: Tensor, by_blank: Tensor, by_emit: Tensor, kept: Tensor | None
) -> None:
    """Adds to grads what some nodes give, by_blank and by_emit (n,) being the weighted shares of their arcs."""
    hidden = _hidden(joint, nodes, some)
    d_logits = _logits(joint, hidden).softmax(1) if kept is None else kept.index_select(0, some)
    d_logits.mul_((by_blank + by_emit).unsqueeze(1))
    d_logits[:, nodes.blank] -= by_blank
    d_logits.scatter_add_(1, nodes.token[some].unsqueeze(1), by_emit.neg().unsqueeze(1))
    grads.weight.addmm_(d_logits.t(), hidden)
    grads.bias.add_(d_logits.sum(0))
    d_sum = torch.ops.aten.tanh_backward(d_logits @ joint.weight, hidden)
    grads.enc.view(-1, d_sum.shape[1]).index_add_(0, nodes.frame[some], d_sum)
    grads.pred.view(-1, d_sum.shape[1]).index_add_(0, nodes.prefix[some], d_sum)
