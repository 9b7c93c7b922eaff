"""Waveforms in and out: read any file, resample, FLAC for the shards. A failure has a reason and stays with its file.

libsndfile 1.2.2 fails part-way on some valid FLACs, so what it cannot read goes to FFmpeg (PyAV). FFmpeg in turn gives
the samples of a damaged FLAC without a word, so what it reads is checked against the MD5 that a FLAC carries.

Reasons of AudioError: missing_audio, empty_audio, text_pointer, absurd_header, unreadable_header, undecodable_audio,
truncated_audio, corrupt_audio, too_long_recording, no_such_channel, non_finite_audio, bad_segment.
"""

import functools
import hashlib
import io
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
import numpy.typing as npt
import soundfile
import soxr

from antiphon.audio.recording import AudioError, Waveform
from antiphon.files import write_whole

Samples = npt.NDArray[np.float32]

MAX_READ_SEC = 3600.0  # one read holds no more than this: an hour of stereo at 48 kHz are 1.4 GB
_MIN_RATE, _MAX_RATE = 2_000, 400_000
_MAX_CHANNELS = 32
# FLAC codes 65,535 equal samples in 12 bytes, and no codec that we know packs more: a header that claims more lies.
_MAX_SAMPLES_A_BYTE = 8_000
_MAX_OVERHANG_SEC = 0.5  # a segment may end this much after its recording: times are rounded
_END_BYTES = 1 << 16
# FFmpeg also reads play lists and concatenations that name other files; a corpus file must not reach beyond itself.
_DEMUXERS = (
    "flac,wav,w64,aiff,au,caf,mp3,aac,ogg,matroska,webm,mov,mp4,m4a,3gp,nistsphere,amr,asf,ape,tta,wv,avi,mpegts"
)


def read_audio(
    path: Path, *, start_sec: float = 0.0, duration_sec: float | None = None, channel: int | None = None
) -> Waveform:
    """A file, or a stretch of it, as mono float32 at its own rate: the mean of its channels unless `channel` is given.

    Raises AudioError with a reason; no other exception leaves here for any content of the file.
    """
    _check_file(path)
    if not 0 <= start_sec < math.inf or (duration_sec is not None and not 0 < duration_sec < math.inf):
        found = f"{start_sec} + {duration_sec} s of {path}"
        raise AudioError("bad_segment", f"a stretch must start at 0 or later and last, but is {found}")
    try:
        file = soundfile.SoundFile(os.fsencode(path))  # a name need not be text
    except (soundfile.SoundFileError, RuntimeError):
        samples, rate = _read_ffmpeg(path, start_sec, duration_sec, header_opened=False)
    else:
        with file:
            samples, rate = _read_libsndfile(file, path, start_sec, duration_sec)
    if duration_sec is not None and len(samples) / rate < duration_sec - _MAX_OVERHANG_SEC:
        found = f"{len(samples) / rate:.2f} s from {start_sec:.2f} s in {path}"
        raise AudioError(
            "bad_segment", f"a stretch of {duration_sec:.2f} s must lie in its recording, but there are {found}"
        )
    return Waveform(samples=_to_mono(samples, channel, path), sample_rate=rate)


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """samples (N,) at rate -> (about N * new_rate / rate,) float32 at new_rate; the same array when rates are equal."""
    if rate == new_rate:
        return samples
    return np.asarray(soxr.resample(samples, rate, new_rate, quality="HQ"), dtype=np.float32)


def encode_flac(samples: Samples, rate: int) -> bytes:
    """samples (N,) float in [-1, 1] -> a FLAC file of 16 bits: the same bytes each time, lossless for 16-bit input."""
    file = io.BytesIO()
    soundfile.write(file, _to_pcm(samples), rate, format="FLAC", subtype="PCM_16")
    return file.getvalue()


def decode_flac(data: bytes) -> Waveform:
    """A FLAC file's bytes -> mono waveform. Raises AudioError("corrupt_audio") when a bit of it is wrong."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except (soundfile.SoundFileError, RuntimeError):
        decoded, rate = _decode_ffmpeg(io.BytesIO(data), "a FLAC member of a shard")
        samples = decoded[:, 0]
    return Waveform(samples=samples, sample_rate=rate)


def write_wav(path: Path, samples: Samples, rate: int) -> None:
    """Write a 16-bit WAV whole."""
    file = io.BytesIO()
    soundfile.write(file, _to_pcm(samples), rate, format="WAV", subtype="PCM_16")
    with write_whole(path) as out:
        out.write(file.getvalue())


@dataclass(frozen=True, kw_only=True)
class AudioFile:
    """An AudioSource: a file, or a stretch of it; `channel` counts from 0, None takes the mean of all."""

    path: Path
    start_sec: float = 0.0
    duration_sec: float | None = None
    channel: int | None = None

    @property
    def uri(self) -> str:
        name = str(self.path).encode("utf-8", "backslashreplace").decode()
        if self.start_sec == 0.0 and self.duration_sec is None:
            return name
        end = "" if self.duration_sec is None else f"{self.start_sec + self.duration_sec:.3f}"
        return f"{name}#t={self.start_sec:.3f},{end}"

    def fingerprint(self) -> str:
        """Size, hash of the first and last 64 KiB, and the stretch; "missing" for a file that is not there."""
        try:
            status = self.path.stat()
            ends = _hash_ends(self.path, status.st_size, status.st_mtime_ns)
        except (OSError, ValueError):
            ends = "missing"
        return f"{ends}:{self.start_sec!r}:{self.duration_sec!r}:{self.channel!r}"

    def read(self) -> Waveform:
        return read_audio(self.path, start_sec=self.start_sec, duration_sec=self.duration_sec, channel=self.channel)


@functools.lru_cache(maxsize=64)
def _hash_ends(path: Path, size: int, _changed_ns: int) -> str:
    digest = hashlib.blake2b(size.to_bytes(8, "big"), digest_size=12)
    with open(path, "rb") as file:
        digest.update(file.read(_END_BYTES))
        file.seek(max(_END_BYTES, size - _END_BYTES))
        digest.update(file.read())
    return digest.hexdigest()


def _check_file(path: Path) -> None:
    try:
        with open(path, "rb") as file:
            head = file.read(64)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte
        raise AudioError("missing_audio", f"{path} must be a readable audio file, but is not ({error})") from error
    if not head:
        raise AudioError("empty_audio", f"{path} must hold audio, but is a file of no bytes")
    if head.startswith(b"version https://git-lfs"):
        raise AudioError(
            "text_pointer", f"{path} must hold audio, but is a Git LFS pointer; fetch the file it stands for"
        )


def _read_libsndfile(
    file: soundfile.SoundFile, path: Path, start_sec: float, duration_sec: float | None
) -> tuple[Samples, int]:
    """(samples, channels) of the stretch; by the second decoder when the header opened and the body fails."""
    rate = file.samplerate
    _check_shape(path, rate, file.channels)
    if file.frames > _MAX_SAMPLES_A_BYTE * path.stat().st_size:
        raise AudioError("absurd_header", f"{path} claims {file.frames:,} samples in {path.stat().st_size:,} bytes")
    if file.frames <= 0:
        raise AudioError("empty_audio", f"{path} must hold audio, but its header counts no samples")
    start = min(round(start_sec * rate), file.frames)
    wanted = file.frames - start if duration_sec is None else min(file.frames - start, round(duration_sec * rate))
    _check_length(path, wanted / rate)
    try:
        if start:
            file.seek(start)
        samples = file.read(wanted, dtype="float32", always_2d=True)
        if len(samples) == wanted:
            return samples, rate
    except (soundfile.SoundFileError, RuntimeError, MemoryError):
        pass  # the second decoder says what is wrong
    samples, rate = _read_ffmpeg(path, start_sec, duration_sec, header_opened=True)
    if len(samples) < 0.99 * wanted:
        found = f"{len(samples):,} of {wanted:,} samples"
        raise AudioError("truncated_audio", f"the header promises more than the body holds: {found} in {path}")
    return samples, rate


def _check_shape(path: object, rate: int, channels: int) -> None:
    if not _MIN_RATE <= rate <= _MAX_RATE or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError("absurd_header", f"{path} claims {rate:,} Hz and {channels} channels")


def _check_length(path: object, seconds: float) -> None:
    if seconds > MAX_READ_SEC:
        raise AudioError(
            "too_long_recording",
            f"one read must last {MAX_READ_SEC:.0f} s or less, but {path} asks for {seconds:.0f} s",
        )


def _read_ffmpeg(
    path: Path, start_sec: float, duration_sec: float | None, *, header_opened: bool
) -> tuple[Samples, int]:
    """(samples, channels) of the stretch by the second decoder."""
    _check_length(path, duration_sec or 0.0)
    try:
        with open(path, "rb") as file:
            return _decode_ffmpeg(file, path, start_sec, duration_sec)
    except AudioError as error:
        if error.reason == "unreadable_header" and header_opened:
            advice = "two decoders know its header, but not its body"
            raise AudioError("undecodable_audio", f"{path} must decode, but {advice}") from error
        raise


def _decode_ffmpeg(
    file: BinaryIO, name: object, start_sec: float = 0.0, duration_sec: float | None = None
) -> tuple[Samples, int]:
    """(samples, channels) float32 of the stretch; a FLAC is decoded to its end and checked against its MD5."""
    reason = "unreadable_header"
    try:
        with av.open(file, options={"format_whitelist": _DEMUXERS}) as container:
            stream = next((s for s in container.streams.audio if s.codec_context is not None), None)
            if stream is None:
                raise AudioError(reason, f"{name} must hold audio of a known codec, but does not")
            rate, channels = stream.codec_context.sample_rate, stream.codec_context.channels
            _check_shape(name, rate, channels)
            reason = "undecodable_audio"
            check = _FlacCheck(bytes(stream.codec_context.extradata or b"")) if stream.codec.name == "flac" else None
            blocks = _blocks(container.decode(stream), channels)
            start = round(start_sec * rate)
            kept = list(_stretch(blocks, start, round((duration_sec or MAX_READ_SEC) * rate), check))
    except (av.error.FFmpegError, ValueError, IndexError, MemoryError) as error:
        raise AudioError(reason, f"{name} cannot be decoded ({error})") from error
    if not kept:
        raise AudioError("empty_audio", f"{name} must hold audio, but decodes to no samples there")
    if check is not None and not check.passes():
        raise AudioError("corrupt_audio", f"{name} is damaged: its samples do not have the MD5 in its header")
    pcm = np.concatenate(kept, axis=1)
    if duration_sec is None:
        _check_length(name, (pcm.shape[1] + 1) / rate)  # more than that was cut off
    return _to_float(pcm).T, rate


def _blocks(decoded: Iterator[av.AudioFrame], channels: int) -> Iterator[npt.NDArray[Any]]:
    """Frames as arrays (channels, samples) in the codec's own type."""
    for frame in decoded:
        block = frame.to_ndarray()
        if not frame.format.is_planar:
            block = block.reshape(-1, channels).T
        if len(block) != channels:
            raise ValueError("the number of channels changes inside the stream")
        yield block


def _stretch(
    blocks: Iterator[npt.NDArray[Any]], start: int, num: int, check: "_FlacCheck | None"
) -> Iterator[npt.NDArray[Any]]:
    """The samples from start to start + num. FFmpeg seeks inexactly, so all that is before is decoded and dropped."""
    seen = 0
    for block in blocks:
        if check is not None:
            check.add(block)
        elif seen >= start + num:
            return
        part = block[:, max(0, start - seen) : max(0, start + num - seen)]
        if part.size:
            yield part
        seen += block.shape[1]


class _FlacCheck:
    """A FLAC's own MD5: over interleaved little-endian samples of ceil(bits / 8) bytes (RFC 9639, 8.2)."""

    def __init__(self, stream_info: bytes) -> None:
        """stream_info: the 34 bytes of the STREAMINFO block; without them, or with an MD5 of zeros, all passes."""
        self._wanted = stream_info[18:34]
        self._bits = (((stream_info[12] & 1) << 4) | (stream_info[13] >> 4)) + 1 if len(stream_info) >= 34 else 0
        self._found = hashlib.md5(usedforsecurity=False)

    def add(self, block: npt.NDArray[Any]) -> None:
        """block (channels, samples): FFmpeg gives the bits at the top of 16 or 32."""
        values = (block.T.astype(np.int32) >> (8 * block.itemsize - self._bits)).astype("<i4")
        bytes_each = -(-self._bits // 8)
        self._found.update(np.ascontiguousarray(values)[..., None].view(np.uint8)[..., :bytes_each].tobytes())

    def passes(self) -> bool:
        return not any(self._wanted) or self._found.digest() == self._wanted


def _to_float(pcm: npt.NDArray[Any]) -> Samples:
    """FFmpeg's sample types to [-1, 1): unsigned 8 bits, signed 16 and 32, float, double."""
    if pcm.dtype == np.uint8:
        return (pcm.astype(np.float32) - 128.0) / 128.0
    scale = 1.0 / (float(np.iinfo(pcm.dtype).max) + 1.0) if np.issubdtype(pcm.dtype, np.integer) else 1.0
    return np.asarray(np.multiply(pcm, np.float32(scale), dtype=np.float32, casting="unsafe"))


def _to_mono(samples: Samples, channel: int | None, path: Path) -> Samples:
    """(N, channels) -> (N,)"""
    if not len(samples):
        raise AudioError("empty_audio", f"the stretch must hold audio, but {path} ends before it starts")
    if channel is not None and not 0 <= channel < samples.shape[1]:
        raise AudioError("no_such_channel", f"channel must be under {samples.shape[1]}, but is {channel} for {path}")
    mono = (
        samples[:, 0 if channel is None else channel]
        if samples.shape[1] == 1 or channel is not None
        else samples.mean(axis=1)
    )
    if not np.isfinite(mono).all():
        raise AudioError("non_finite_audio", f"samples must be finite numbers, but {path} holds NaN or infinity")
    return np.ascontiguousarray(np.clip(mono, -1.0, 1.0), dtype=np.float32)


def _to_pcm(samples: Samples) -> npt.NDArray[np.int16]:
    """The inverse of dividing by 32768, so that 16-bit audio passes through unchanged."""
    scaled = np.clip(np.rint(samples * np.float32(32768)), -32768, 32767)
    return np.asarray(scaled, dtype=np.int16)
