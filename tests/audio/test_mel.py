"""log-mel against a direct computation, and its promises about frames, level and position."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from antiphon.audio.mel import AudioSpec, log_mel

SPEC = AudioSpec()


def direct(samples: np.ndarray, spec: AudioSpec) -> np.ndarray:
    """The definition, frame by frame and filter by filter, in double precision."""
    frames = []
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(spec.window_samples) / spec.window_samples)
    mel = lambda hertz: 2595 * np.log10(1 + hertz / 700)  # noqa: E731
    edges = np.linspace(mel(spec.min_hz), mel(spec.max_hz), spec.num_mels + 2)
    bins = mel(np.arange(spec.fft_samples // 2 + 1) * spec.sample_rate / spec.fft_samples)
    for number in range(math.ceil(len(samples) / spec.hop_samples)):
        middle = number * spec.hop_samples + spec.hop_samples // 2
        places = middle - spec.window_samples // 2 + np.arange(spec.window_samples)
        inside = (places >= 0) & (places < len(samples))
        piece = np.where(inside, samples[np.clip(places, 0, len(samples) - 1)], 0.0) * window
        power = np.abs(np.fft.rfft(piece, spec.fft_samples)) ** 2
        row = []
        for low, peak, high in zip(edges, edges[1:], edges[2:], strict=False):
            weight = np.clip(np.minimum((bins - low) / (peak - low), (high - bins) / (high - peak)), 0, None)
            row.append((math.log(max(float(weight @ power), spec.floor)) + 4) / 4)
        frames.append(row)
    return np.array(frames)


@pytest.mark.parametrize("num_samples", [1, 159, 160, 161, 1000, 4321])
def test_against_the_definition(num_samples: int) -> None:
    samples = np.random.default_rng(num_samples).uniform(-0.5, 0.5, num_samples)
    found = log_mel(torch.from_numpy(samples), SPEC)
    assert found.shape == (SPEC.num_frames(num_samples), 80)
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), direct(samples, SPEC), atol=2e-4)


@given(st.integers(1, 5000), st.integers(1, 6))
def test_a_shift_by_whole_hops_shifts_frames(num_samples: int, hops: int) -> None:
    samples = torch.rand(num_samples, generator=torch.Generator().manual_seed(num_samples)) - 0.5
    shifted = torch.cat([torch.zeros(hops * SPEC.hop_samples), samples])
    assert torch.allclose(log_mel(shifted, SPEC)[hops:], log_mel(samples, SPEC), atol=1e-5)


def test_silence_is_the_floor_and_no_samples_are_no_frames() -> None:
    lowest = (math.log(SPEC.floor) + 4) / 4
    assert torch.allclose(log_mel(torch.zeros(800), SPEC), torch.full((5, 80), lowest))
    assert SPEC.num_frames(0) == 0


def test_a_tone_is_loudest_in_its_own_bin() -> None:
    time = torch.arange(16_000) / 16_000
    peaks = [log_mel(torch.sin(2 * math.pi * hertz * time), SPEC)[50].argmax() for hertz in (200, 1000, 4000)]
    assert peaks == sorted(peaks)
    assert len(set(map(int, peaks))) == 3


def test_a_differing_spec_is_named_field_by_field() -> None:
    with pytest.raises(ValueError, match="num_mels is 80 in the model but 40 in shards/x") as error:
        SPEC.check_same(AudioSpec(num_mels=40, hop_samples=200), "the model", "shards/x")
    assert "hop_samples" in str(error.value)
    assert "sample_rate" not in str(error.value)
