"""Batch: padded tensors, each with its lengths, and the keys of its utterances. Values never tell what is padding."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

import torch
from torch import Tensor

from antiphon.data.utterance import Kind


@dataclass(frozen=True, kw_only=True)
class Batch:
    """One micro-batch of one kind. A side that the kind lacks is None; lengths count real entries.

    mel (B, T, M) log-mel; mel_len (B,) frames of AudioSpec.hop_samples
    tokens (B, U) wordpiece ids; tokens_len (B,)
    phones (B, P) phone ids; phones_len (B,)
    phone_times (B, P, 2) seconds, where the corpus knows them (only measures of alignment and duration read it)
    """

    kind: Kind
    keys: tuple[str, ...]
    seconds: float = 0.0  # real audio in the batch
    mel: Tensor | None = None
    mel_len: Tensor | None = None
    tokens: Tensor | None = None
    tokens_len: Tensor | None = None
    phones: Tensor | None = None
    phones_len: Tensor | None = None
    phone_times: Tensor | None = None

    def __len__(self) -> int:
        return len(self.keys)

    def side(self, name: Literal["mel", "tokens", "phones"]) -> tuple[Tensor, Tensor]:
        """A side of the batch and its lengths. Raises ValueError when this kind of batch lacks it."""
        value, lengths = getattr(self, name), getattr(self, f"{name}_len")
        if value is None or lengths is None:
            raise ValueError(
                f"a batch must carry {name} here, but this {self.kind} batch ({self.keys[0]} ...) has none"
            )
        return value, lengths

    def to(self, device: torch.device | str) -> "Batch":
        """The same batch on a device."""
        moved = {
            f.name: getattr(self, f.name).to(device) for f in fields(self) if isinstance(getattr(self, f.name), Tensor)
        }
        return replace(self, **moved)


def pad(rows: Sequence[Tensor], *, multiple: int = 1) -> tuple[Tensor, Tensor]:
    """N tensors (L_i, ...) -> one of zeros-padded (N, L, ...), L the longest rounded up to a multiple; lengths (N,)."""
    lengths = torch.tensor([len(row) for row in rows], dtype=torch.int64)
    padded = torch.nn.utils.rnn.pad_sequence(list(rows), batch_first=True)
    extra = -padded.shape[1] % multiple
    return torch.nn.functional.pad(padded, (0, 0) * (padded.dim() - 2) + (0, extra)), lengths
