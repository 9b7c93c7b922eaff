"""The rooms and lines between a speaker of the stew and the microphone. No channel moves the sound in time."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import fft, signal

Channel = Literal["clean", "close", "far", "phone", "hall", "noise"]
Samples = npt.NDArray[np.float32]

PHONE_RATE = 8_000


def transmit(samples: Samples, sample_rate: int, channel: Channel, rng: np.random.Generator) -> tuple[Samples, int]:
    """samples (N,) -> what the microphone hears, (N,) or its resampled length, and its sample rate."""
    level_db = rng.uniform(-26.0, -20.0)
    speech = samples * np.float32(_from_db(level_db) / max(1e-4, _level(samples)))
    if channel == "phone":
        speech, sample_rate = _telephone(_add_noise(speech, rng, rng.uniform(25.0, 35.0), colour=0.5), sample_rate)
    elif channel == "close":
        speech = _add_noise(
            _reverberate(speech, sample_rate, rng, 0.25, -14.0), rng, rng.uniform(24.0, 32.0), colour=1.0
        )
    elif channel == "far":
        reverberant = _reverberate(speech, sample_rate, rng, rng.uniform(0.3, 0.5), rng.uniform(-5.0, -2.0))
        speech = _add_noise(reverberant, rng, rng.uniform(14.0, 20.0), colour=1.0)
    elif channel == "hall":
        reverberant = _reverberate(speech, sample_rate, rng, rng.uniform(0.4, 0.6), rng.uniform(-14.0, -10.0))
        speech = _add_noise(reverberant, rng, rng.uniform(22.0, 30.0), colour=1.0)
    elif channel == "noise":
        speech = _add_noise(speech, rng, rng.uniform(10.0, 20.0), colour=rng.uniform(0.0, 1.0))
    else:
        speech = _add_noise(speech, rng, 50.0, colour=0.0)
    return np.clip(speech, -1.0, 1.0).astype(np.float32), sample_rate


def _from_db(decibels: float) -> float:
    return float(10.0 ** (decibels / 20.0))


def _level(samples: Samples) -> float:
    """Root mean square of what is not silence."""
    loud = samples[np.abs(samples) > 1e-3]
    return float(np.sqrt(np.mean(np.square(loud, dtype=np.float64)))) if len(loud) else 0.0


def _add_noise(speech: Samples, rng: np.random.Generator, snr_db: float, colour: float) -> Samples:
    """Noise whose power falls as 1 / f ** colour (0 white, 1 pink), snr_db below the level of the speech."""
    size = fft.next_fast_len(len(speech), real=True)
    spectrum = fft.rfft(rng.standard_normal(size, dtype=np.float32))
    spectrum *= np.arange(1, len(spectrum) + 1, dtype=np.float32) ** np.float32(-colour / 2)
    noise = fft.irfft(spectrum, size)[: len(speech)]
    scale = _level(speech) * _from_db(-snr_db) / float(np.sqrt(np.mean(np.square(noise))))
    return np.asarray(speech + noise * np.float32(scale), np.float32)


def _reverberate(
    speech: Samples, sample_rate: int, rng: np.random.Generator, decay_sec: float, tail_db: float
) -> Samples:
    """A room: the direct sound at once, then noise that falls by 60 dB in decay_sec and has tail_db in all."""
    room_samples = int(decay_sec * sample_rate)
    time = np.arange(room_samples, dtype=np.float32) / np.float32(decay_sec * sample_rate)
    tail = rng.standard_normal(room_samples, dtype=np.float32) * np.exp(-6.9 * time).astype(np.float32)
    tail[: int(0.003 * sample_rate)] = 0.0  # the first wall is a metre away
    tail *= np.float32(_from_db(tail_db) / np.sqrt(np.sum(np.square(tail))))
    tail[0] = 1.0
    return np.asarray(signal.fftconvolve(speech, tail)[: len(speech)], np.float32)


def _telephone(speech: Samples, sample_rate: int) -> tuple[Samples, int]:
    """300 to 3,400 Hz at 8 kHz, through mu-law of 8 bits. The filter runs forwards and backwards: no delay."""
    up, down = 160, 441
    assert sample_rate * up == PHONE_RATE * down, f"the telephone is made for 22,050 Hz, not {sample_rate}"
    narrow = np.asarray(signal.resample_poly(speech, up, down), np.float64)
    narrow = signal.sosfiltfilt(_BAND, narrow)
    companded = np.sign(narrow) * np.log1p(255.0 * np.minimum(1.0, np.abs(narrow))) / np.log(256.0)
    coded = np.round(companded * 127.0) / 127.0
    return np.asarray(np.sign(coded) * np.expm1(np.abs(coded) * np.log(256.0)) / 255.0, np.float32), PHONE_RATE


_BAND = signal.butter(4, (300.0, 3_400.0), "bandpass", fs=PHONE_RATE, output="sos")
