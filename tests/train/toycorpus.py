"""A reader whose speech is beeps: each word a few tones, phones and their times known; no synthesiser is needed."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from antiphon.data.utterance import Utterance, Waveform

RATE = 16_000
WORDS = {
    "one": ("W", "AH", "N"),
    "two": ("T", "UW"),
    "three": ("TH", "R", "IY"),
    "four": ("F", "AO", "R"),
    "five": ("F", "AY", "V"),
    "six": ("S", "IH", "K", "S"),
    "seven": ("S", "EH", "V", "AH", "N"),
    "eight": ("EY", "T"),
}
INVENTORY = sorted({phone for phones in WORDS.values() for phone in phones})


@dataclass(frozen=True)
class Beeps:
    """One tone a phone, 60 to 120 ms long."""

    phones: tuple[str, ...]
    seed: int

    @property
    def uri(self) -> str:
        return f"beeps:{self.seed}"

    def fingerprint(self) -> str:
        return f"{' '.join(self.phones)} {self.seed}"

    def read(self) -> Waveform:
        chance = np.random.default_rng(self.seed)
        pieces, times, at = [], [], 0
        for phone in self.phones:
            size = int(chance.integers(960, 1920))
            hertz = 200 * 1.15 ** INVENTORY.index(phone)
            pieces.append(np.sin(2 * np.pi * hertz * np.arange(size) / RATE))
            times.append((at / RATE, (at + size) / RATE))
            at += size
        noise = chance.normal(0, 0.01, at)
        samples = (0.3 * np.concatenate(pieces) + noise).astype(np.float32)
        return Waveform(samples=samples, sample_rate=RATE, phone_times=tuple(times))


def read() -> Iterator[Utterance]:
    """48 paired utterances to train on, 8 to test on, 24 of text alone; two domains."""
    chance = np.random.default_rng(0)
    for row in range(80):
        words = [str(word) for word in chance.choice(sorted(WORDS), size=chance.integers(2, 6))]
        phones = tuple(WORDS[word] for word in words)
        paired = row < 56
        yield Utterance(
            key=f"toy-{row:03d}",
            split="train" if row < 48 else "test" if paired else "text",
            audio=Beeps(tuple(phone for word in phones for phone in word), row) if paired else None,
            text=" ".join(words),
            phones=phones,
            domain="even" if row % 2 == 0 else "odd",
        )
