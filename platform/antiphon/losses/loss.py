"""Loss: what every model's `forward(batch)` returns, a sum and a count.

The loop adds the sums over micro-batches and ranks and divides by the counts, so ragged batches on two workers give the
same update as one worker with all of them.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Loss:
    """total: scalar with gradient, summed over what `count` counts (utterances, unless the model says otherwise).

    parts: name -> (sum, count), detached scalars for the report; each part has a count of its own, since a text-only
    batch has no consistency and a speech-only batch no transcript.
    """

    total: Tensor
    count: int
    parts: Mapping[str, tuple[Tensor, int]] = field(default_factory=dict)
