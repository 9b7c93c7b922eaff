"""A small spoken-looking corpus: tones in files whose names carry word, speaker and number."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.waveform import write_wav

WORDS = ("zero", "one", "two", "three", "four")


@pytest.fixture
def tones(tmp_path: Path) -> Callable[..., Path]:
    """tones(num=10, folder="tones", rate=8_000) -> a folder of num WAVs `<word>_<speaker>_<number>.wav`, 0.2 s each."""

    def make(num: int = 10, folder: str = "tones", rate: int = 8_000) -> Path:
        random = np.random.default_rng(num)
        for row in range(num):
            hertz = 200 + 20 * row
            samples = 0.4 * np.sin(2 * np.pi * hertz * np.arange(rate // 5) / rate) + 0.01 * random.standard_normal(
                rate // 5
            )
            name = f"{WORDS[row % len(WORDS)]}_{'ab'[row % 2]}_{row}.wav"
            write_wav(tmp_path / folder / name, samples.astype(np.float32), rate)
        return tmp_path / folder

    return make
