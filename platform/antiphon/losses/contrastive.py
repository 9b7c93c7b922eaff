"""InfoNCE (van den Oord et al., arXiv 1807.03748), symmetric as in CLIP (arXiv 2103.00020), pair by pair."""

import torch
from torch import Tensor


def info_nce(a: Tensor, b: Tensor, *, temperature: float, groups: Tensor | None = None) -> Tensor:
    """a (B, D), b (B, D), pair i is (a_i, b_i) -> (B,) mean of both directions' cross-entropies in nats, fp32.

    Compares by cosine / temperature. groups (B,): rows of one number say the same and are no negatives of each other.
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be above 0, but is {temperature}; 0.07 is a usual value")
    with torch.autocast(a.device.type, enabled=False):
        one, other = (torch.nn.functional.normalize(side.float(), dim=-1) for side in (a, b))
        logits = one @ other.t() / temperature
        if groups is not None:
            same = groups.unsqueeze(1) == groups
            logits = logits.masked_fill(same.fill_diagonal_(False), float("-inf"))
        return logits.diagonal().neg() + (logits.logsumexp(0) + logits.logsumexp(1)) / 2
