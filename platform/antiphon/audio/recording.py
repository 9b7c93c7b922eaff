"""What a recording is once it is read: samples at a rate, with what its source knows; and why it could not be read."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# (start, end) of each phone in seconds, in the order of the phones.
PhoneTimes = tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Waveform:
    """samples (N,) float32 mono in [-1, 1] at sample_rate Hz; phones and their times where the source knows them."""

    samples: npt.NDArray[np.float32]
    sample_rate: int
    phones: tuple[tuple[str, ...], ...] | None = None  # as spoken, one tuple a word
    phone_times: PhoneTimes | None = None

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.sample_rate


class AudioError(Exception):
    """A recording that cannot be used. `reason` is a short fixed name to count by; the message is for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason
