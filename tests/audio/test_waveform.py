"""16-bit audio passes through unchanged, damage is never decoded in silence, each failure has its reason."""

import contextlib
import hashlib
import io
import struct
from pathlib import Path

import av
import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.audio.recording import AudioError
from antiphon.audio.waveform import AudioFile, decode_flac, encode_flac, read_audio, resample, write_wav

RATE = 16_000
# The FLACs of ../shared/data/hostile_audio whose header opens and whose body libsndfile 1.2.2 does not decode.
HALF_BROKEN = [32, 33, 34, 126, 127, 128, 129, 142, 144, 229, 272, 273, 274, 275]


def tone(seconds: float = 0.5, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def noise(num: int = 8_000, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(-32768, 32768, num).astype(np.float32) / 32768


def reason_of(path: Path, **stretch: float) -> str:
    with pytest.raises(AudioError) as caught:
        read_audio(path, **stretch)
    assert str(path) in str(caught.value)
    return caught.value.reason


def flac_md5(path: Path) -> bytes:
    """The MD5 of the samples that a FLAC's STREAMINFO, its first block, promises."""
    return path.read_bytes()[8 + 18 : 8 + 34]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-32768, 32767), min_size=1, max_size=300), st.sampled_from([8_000, 16_000, 44_100]))
def test_flac_gives_back_every_16_bit_sample(pcm: list[int], rate: int) -> None:
    samples = np.array(pcm, dtype=np.float32) / 32768
    data = encode_flac(samples, rate)
    wave = decode_flac(data)
    assert wave.sample_rate == rate
    np.testing.assert_array_equal(wave.samples, samples)
    assert encode_flac(samples, rate) == data


def test_a_flipped_bit_of_a_flac_is_never_decoded_in_silence() -> None:
    """FFmpeg alone decodes most damaged FLACs without a word; the MD5 in the header finds them."""
    clean = encode_flac(noise(), RATE)
    random = np.random.default_rng(1)
    silent = 0
    for _ in range(60):
        damaged = bytearray(clean)
        damaged[random.integers(200, len(clean))] ^= 1 << random.integers(8)
        with pytest.raises(AudioError) as caught:
            decode_flac(bytes(damaged))
        assert caught.value.reason in {"corrupt_audio", "undecodable_audio", "unreadable_header", "empty_audio"}
        with av.open(io.BytesIO(bytes(damaged))) as container:
            silent += sum(frame.samples for frame in container.decode(audio=0)) > 0
    assert silent > 40  # so the check above is what caught them


def test_every_container_gives_the_same_samples(tmp_path: Path) -> None:
    samples = noise()
    for name, subtype in [
        ("a.wav", "PCM_16"),
        ("b.flac", "PCM_24"),
        ("c.aiff", "PCM_16"),
        ("d.wav", "FLOAT"),
        ("e.w64", "PCM_32"),
    ]:
        soundfile.write(tmp_path / name, samples, RATE, subtype=subtype)
        np.testing.assert_array_equal(read_audio(tmp_path / name).samples, samples, err_msg=name)


def test_what_only_ffmpeg_reads_is_read(tmp_path: Path) -> None:
    """An m4a is opaque to libsndfile; the tone must come back at its pitch and length."""
    path, samples = tmp_path / "tone.m4a", tone(1.0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
    wave = read_audio(path)
    assert wave.sample_rate == RATE
    assert wave.seconds == pytest.approx(1.0, abs=0.15)
    peak = np.abs(np.fft.rfft(wave.samples[2_000:10_000])).argmax() * RATE / 8_000
    assert peak == pytest.approx(440, abs=3)
    part = read_audio(path, start_sec=0.25, duration_sec=0.5)
    np.testing.assert_array_equal(part.samples, wave.samples[4_000:12_000])


@pytest.mark.parametrize("subtype", ["PCM_S8", "PCM_16", "PCM_24"])
def test_the_md5_of_every_width_of_flac_is_checked(tmp_path: Path, subtype: str) -> None:
    """A FLAC inside Matroska is FFmpeg's alone; its header travels with it."""
    soundfile.write(tmp_path / "x.flac", np.stack([noise(seed=3), noise(seed=4)], 1), RATE, subtype=subtype)
    wanted = soundfile.read(tmp_path / "x.flac", dtype="float32")[0]
    with av.open(str(tmp_path / "x.flac")) as source, av.open(str(tmp_path / "x.mka"), "w") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(audio=0):
            if packet.size:
                packet.stream = stream
                target.mux(packet)
    np.testing.assert_array_equal(read_audio(tmp_path / "x.mka", channel=1).samples, wanted[:, 1])
    data = bytearray((tmp_path / "x.mka").read_bytes())
    data[len(data) // 2] ^= 16
    (tmp_path / "x.mka").write_bytes(bytes(data))
    assert reason_of(tmp_path / "x.mka") == "corrupt_audio"


def test_channels_are_averaged_or_chosen(tmp_path: Path) -> None:
    left, right = noise(seed=1), noise(seed=2)
    soundfile.write(tmp_path / "two.wav", np.stack([left, right], 1), RATE)
    np.testing.assert_allclose(read_audio(tmp_path / "two.wav").samples, (left + right) / 2, atol=1e-7)
    np.testing.assert_array_equal(read_audio(tmp_path / "two.wav", channel=1).samples, right)
    with pytest.raises(AudioError, match="channel must be under 2, but is 2"):
        read_audio(tmp_path / "two.wav", channel=2)


def test_a_stretch_is_that_part_of_the_whole(tmp_path: Path) -> None:
    path, samples = tmp_path / "long.flac", noise(RATE)
    soundfile.write(path, samples, RATE)
    np.testing.assert_array_equal(read_audio(path, start_sec=0.25, duration_sec=0.5).samples, samples[4_000:12_000])
    np.testing.assert_array_equal(read_audio(path, start_sec=0.75).samples, samples[12_000:])
    np.testing.assert_array_equal(read_audio(path, start_sec=0.75, duration_sec=0.4).samples, samples[12_000:])
    assert reason_of(path, start_sec=1.5) == "empty_audio"
    assert reason_of(path, start_sec=0.75, duration_sec=9.0) == "bad_segment"
    assert reason_of(path, start_sec=float("nan")) == "bad_segment"
    assert reason_of(path, duration_sec=float("inf")) == "bad_segment"
    assert reason_of(path, start_sec=-1.0) == "bad_segment"
    assert reason_of(path, duration_sec=0.0) == "bad_segment"


def test_resampling_keeps_a_tone_and_its_length() -> None:
    up = resample(tone(1.0, 8_000), 8_000, 16_000)
    assert len(up) == 16_000
    np.testing.assert_allclose(up[1_000:-1_000], tone(1.0)[1_000:-1_000], atol=5e-3)
    down = resample(tone(1.0, 16_000, hertz=7_000), 16_000, 8_000)
    assert np.abs(down[500:-500]).max() < 0.01  # above the new Nyquist frequency nothing may be left


def test_a_wav_comes_back(tmp_path: Path) -> None:
    samples = noise()
    write_wav(tmp_path / "x.wav", samples, RATE)
    np.testing.assert_array_equal(read_audio(tmp_path / "x.wav").samples, samples)


def riff(rate: int = RATE, channels: int = 1, data: bytes = bytes(2_000), claimed: int | None = None) -> bytes:
    fmt = struct.pack("<HHIIHH", 1, channels, rate, rate * 2 * channels, 2 * channels, 16)
    size = len(data) if claimed is None else claimed
    body = b"WAVEfmt " + struct.pack("<I", 16) + fmt + b"data" + struct.pack("<I", size) + data
    return b"RIFF" + struct.pack("<I", min(2**32 - 1, len(body))) + body


def test_each_failure_has_its_reason(tmp_path: Path) -> None:
    file = tmp_path / "x.wav"
    assert reason_of(file) == "missing_audio"
    assert reason_of(tmp_path / "n\0ul.wav") == "missing_audio"
    assert reason_of(tmp_path) == "missing_audio"  # a folder
    for content, expected in [
        (b"", "empty_audio"),
        (riff(data=b""), "empty_audio"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n", "text_pointer"),
        (b"hello, this is no audio at all", "unreadable_header"),
        (riff()[:30], "unreadable_header"),
        (riff(rate=1_092_676), "absurd_header"),
        (riff(channels=500), "absurd_header"),
    ]:
        file.write_bytes(content)
        assert reason_of(file) == expected, content[:60]
    soundfile.write(tmp_path / "nan.wav", np.array([0.0, np.nan] * 500), RATE, subtype="FLOAT")
    assert reason_of(tmp_path / "nan.wav") == "non_finite_audio"


def test_a_cut_off_flac_is_not_passed_off_as_whole(tmp_path: Path) -> None:
    whole = encode_flac(noise(RATE), RATE)
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    assert reason_of(tmp_path / "cut.flac") in {"truncated_audio", "corrupt_audio", "undecodable_audio"}


def test_random_bytes_after_a_true_header_raise_nothing_but_audio_errors(tmp_path: Path) -> None:
    flac = encode_flac(noise(2_000), RATE)
    random = np.random.default_rng(2)
    file = tmp_path / "fuzz"
    for row in range(120):
        data = bytearray([flac, riff()][row % 2])
        for _ in range(random.integers(1, 8)):
            data[random.integers(0, 60)] = random.integers(256)
        file.write_bytes(bytes(data))
        with contextlib.suppress(AudioError):
            assert read_audio(file).samples.size <= 4_000


def test_a_play_list_cannot_reach_other_files(tmp_path: Path) -> None:
    write_wav(tmp_path / "secret.wav", tone(), RATE)
    (tmp_path / "list.wav").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{tmp_path}/secret.wav\n#EXT-X-ENDLIST\n")
    assert reason_of(tmp_path / "list.wav") == "unreadable_header"
    (tmp_path / "concat.wav").write_text(f"ffconcat version 1.0\nfile {tmp_path}/secret.wav\n")
    assert reason_of(tmp_path / "concat.wav") in {"unreadable_header", "undecodable_audio"}


def test_a_fingerprint_follows_the_content_and_the_stretch(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    missing = AudioFile(path=path).fingerprint()
    write_wav(path, noise(200_000), RATE)
    first = AudioFile(path=path).fingerprint()
    assert first == AudioFile(path=path).fingerprint() != missing
    assert first != AudioFile(path=path, start_sec=0.1).fingerprint()
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    (tmp_path / "y.wav").write_bytes(bytes(data))
    assert AudioFile(path=tmp_path / "y.wav").fingerprint() != first
    assert AudioFile(path=path, start_sec=1.0, duration_sec=2.5).uri == f"{path}#t=1.000,3.500"


@pytest.mark.parametrize("number", HALF_BROKEN)
def test_flacs_that_libsndfile_gives_up_are_recovered_to_the_bit(number: int, shared_data: Path) -> None:
    path = shared_data / f"hostile_audio/alexa_{number}.flac"
    with pytest.raises(soundfile.SoundFileError):
        soundfile.read(path)
    samples = read_audio(path).samples
    pcm = np.round(samples * 32768).astype("<i2").tobytes()
    assert hashlib.md5(pcm).digest() == flac_md5(path)  # the maker's own hash of the samples


def test_the_other_hostile_files_are_kept_or_named(shared_data: Path) -> None:
    folder = shared_data / "hostile_audio"
    healthy = {
        "alexa_1.flac": 58_560,
        "alexa_2.flac": 38_720,
        "alexa_3.flac": 81_600,
        "stereo.mp3": 8_000,
        "stereo.sph": 8_000,
    }
    for name, num in healthy.items():
        assert len(read_audio(folder / name).samples) == num
    assert read_audio(folder / "stereo.opus").seconds == pytest.approx(1.0, abs=0.02)
    reasons = {name: reason_of(folder / name) for name in ("awful.wav", "bad.wav", "evil.wav", "null.wav")}
    assert reasons == {
        "awful.wav": "absurd_header",
        "bad.wav": "unreadable_header",
        "evil.wav": "unreadable_header",
        "null.wav": "empty_audio",
    }
    assert {reason_of(path) for path in [*folder.glob("day1*"), *folder.glob("2020*")]} == {"text_pointer"}
