"""Waveforms in and out: read any file, resample, FLAC for the shards. A failure has a reason and stays with its file.

libsndfile 1.2.2 fails part-way on some valid FLACs, so what it cannot read goes to FFmpeg (PyAV). FFmpeg in turn gives
the samples of a damaged FLAC without a word, so what it reads is checked against the MD5 that a FLAC carries.

Reasons of AudioError: missing_audio, empty_audio, text_pointer, absurd_header, unreadable_header, undecodable_audio,
truncated_audio, corrupt_audio, too_long_recording, no_such_channel, non_finite_audio, bad_segment, encoder_mismatch.
"""

import functools
import hashlib
import io
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

MAX_READ_SEC = 4 * 3600.0  # one read holds no more than this: 4 h at 48 kHz are 2.8 GB
_MIN_RATE, _MAX_RATE = 2_000, 400_000
_MAX_CHANNELS = 32
# FLAC codes 65,535 equal samples in 12 bytes, and no codec that we know packs more: a header that claims more lies.
_MAX_SAMPLES_A_BYTE = 8_000
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
    if start_sec < 0 or (duration_sec is not None and duration_sec <= 0):
        raise AudioError(
            "bad_segment",
            f"a stretch must start at 0 or later and last, but is {start_sec} + {duration_sec} s of {path}",
        )
    claimed = _claims(path)
    if claimed is None:
        samples, rate = _read_ffmpeg(path, start_sec, duration_sec, header_opened=False)
    else:
        rate = claimed.samplerate
        start = round(start_sec * rate)
        left = max(0, claimed.frames - start)
        wanted = left if duration_sec is None else min(left, round(duration_sec * rate))
        _check_length(path, wanted / rate)
        try:
            samples, rate = soundfile.read(
                path, frames=wanted, start=min(start, claimed.frames), dtype="float32", always_2d=True
            )
            if len(samples) < wanted:
                raise soundfile.SoundFileError("the body ends early")
        except (soundfile.SoundFileError, RuntimeError, MemoryError):
            samples, rate = _read_ffmpeg(path, start_sec, duration_sec, header_opened=True)
            if len(samples) < 0.99 * wanted:
                found = f"{len(samples):,} of {wanted:,} samples"
                raise AudioError(
                    "truncated_audio", f"the header promises more than the body holds: {found} in {path}"
                ) from None
    return Waveform(samples=_to_mono(samples, channel, path), sample_rate=rate)


def resample(samples: Samples, rate: int, new_rate: int) -> Samples:
    """samples (N,) at rate -> (about N * new_rate / rate,) float32 at new_rate; the same array when rates are equal."""
    if rate == new_rate:
        return samples
    return np.asarray(soxr.resample(samples, rate, new_rate, quality="HQ"), dtype=np.float32)


def encode_flac(samples: Samples, rate: int) -> bytes:
    """samples (N,) float in [-1, 1] -> a FLAC file of 16 bits: the same bytes each time, lossless for 16-bit input.

    The bytes are decoded again before they are returned; AudioError("encoder_mismatch") if that gives other samples.
    """
    pcm = _to_pcm(samples)
    file = io.BytesIO()
    soundfile.write(file, pcm, rate, format="FLAC", subtype="PCM_16")
    data = file.getvalue()
    if not np.array_equal(_to_pcm(decode_flac(data).samples), pcm):
        raise AudioError(
            "encoder_mismatch",
            f"FLAC must give back what it was given, but did not for {len(pcm):,} samples at {rate} Hz",
        )
    return data


def decode_flac(data: bytes) -> Waveform:
    """A FLAC file's bytes -> mono waveform. Raises AudioError("corrupt_audio") when a bit of it is wrong."""
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32")
    except (soundfile.SoundFileError, RuntimeError):
        decoded, rate = _decode_ffmpeg(io.BytesIO(data), "a FLAC member of a shard", limit_sec=MAX_READ_SEC)
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
        if self.start_sec == 0.0 and self.duration_sec is None:
            return str(self.path)
        end = "" if self.duration_sec is None else f"{self.start_sec + self.duration_sec:.3f}"
        return f"{self.path}#t={self.start_sec:.3f},{end}"

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


def _claims(path: Path) -> "soundfile._SoundFileInfo | None":
    """What libsndfile reads in the header; None for a format that it does not know; AudioError for an absurd header."""
    try:
        info = soundfile.info(path)
    except (soundfile.SoundFileError, RuntimeError):
        return None
    _check_shape(path, info.samplerate, info.channels)
    if info.frames > _MAX_SAMPLES_A_BYTE * path.stat().st_size:
        raise AudioError("absurd_header", f"{path} claims {info.frames:,} samples in {path.stat().st_size:,} bytes")
    if info.frames <= 0:
        raise AudioError("empty_audio", f"{path} must hold audio, but its header counts no samples")
    return info


def _check_shape(path: object, rate: int, channels: int) -> None:
    if not _MIN_RATE <= rate <= _MAX_RATE or not 1 <= channels <= _MAX_CHANNELS:
        raise AudioError("absurd_header", f"{path} claims {rate:,} Hz and {channels} channels")


def _check_length(path: Path, seconds: float) -> None:
    if seconds > MAX_READ_SEC:
        raise AudioError(
            "too_long_recording",
            f"one read must last {MAX_READ_SEC:.0f} s or less, but {path} asks for {seconds:.0f} s",
        )


def _read_ffmpeg(
    path: Path, start_sec: float, duration_sec: float | None, *, header_opened: bool
) -> tuple[Samples, int]:
    """(samples, channels) of the stretch, decoded from the start of the file: FFmpeg seeks inexactly."""
    end_sec = MAX_READ_SEC if duration_sec is None else start_sec + duration_sec
    _check_length(path, end_sec)
    try:
        with open(path, "rb") as file:
            samples, rate = _decode_ffmpeg(file, path, limit_sec=end_sec)
    except AudioError as error:
        if error.reason == "unreadable_header" and header_opened:
            raise AudioError(
                "undecodable_audio", f"two decoders read the header of {path}, but not its body"
            ) from error
        raise
    start = round(start_sec * rate)
    return samples[start : None if duration_sec is None else start + round(duration_sec * rate)], rate


def _decode_ffmpeg(file: BinaryIO, name: object, limit_sec: float) -> tuple[Samples, int]:
    """(samples, channels) float32 up to limit_sec; a FLAC is read to its end and checked against its MD5."""
    try:
        with av.open(file, options={"format_whitelist": _DEMUXERS}) as container:
            if not container.streams.audio:
                raise AudioError("unreadable_header", f"{name} must hold an audio stream, but has none")
            stream = container.streams.audio[0]
            context = stream.codec_context
            _check_shape(name, context.sample_rate, context.channels)
            rate, is_flac = int(context.sample_rate), context.name == "flac"
            limit = int((MAX_READ_SEC if is_flac else limit_sec) * rate)
            md5 = bytes(context.extradata or b"")[18:34] if is_flac else b""
            blocks = list(_frames(container.decode(stream), limit, context.channels))
    except (av.error.FFmpegError, ValueError, IndexError, MemoryError) as error:
        reason = "unreadable_header" if isinstance(error, av.error.InvalidDataError) else "undecodable_audio"
        raise AudioError(reason, f"{name} cannot be decoded ({error})") from error
    if not blocks:
        raise AudioError("empty_audio", f"{name} must hold audio, but decodes to no samples")
    pcm = np.concatenate(blocks, axis=1)
    if any(md5) and not _has_md5(pcm, md5):
        raise AudioError("corrupt_audio", f"{name} is damaged: its samples do not have the MD5 in its header")
    return _to_float(pcm).T, rate


def _frames(decoded: Iterator[av.AudioFrame], limit_samples: int, channels: int) -> Iterator[npt.NDArray[Any]]:
    """Arrays (channels, samples) in the codec's own type, no more than limit_samples in total."""
    seen = 0
    for frame in decoded:
        block = frame.to_ndarray()
        if not frame.format.is_planar:
            block = block.reshape(-1, channels).T
        if len(block) != channels:
            raise ValueError("the number of channels changes inside the stream")
        yield block[:, : limit_samples - seen]
        seen += block.shape[1]
        if seen >= limit_samples:
            return


def _has_md5(pcm: npt.NDArray[Any], md5: bytes) -> bool:
    """FLAC's MD5 is over interleaved little-endian samples of ceil(bits / 8) bytes; FFmpeg shifts 24 bits to 32."""
    wide = pcm.T.astype("<i4" if pcm.dtype.itemsize == 4 else "<i2")
    candidates = [wide.tobytes()]
    if pcm.dtype.itemsize == 4:
        candidates.append(
            np.ascontiguousarray(wide[..., None].view(np.uint8).reshape(*wide.shape, 4)[..., 1:]).tobytes()
        )
    return any(hashlib.md5(data, usedforsecurity=False).digest() == md5 for data in candidates)


def _to_float(pcm: npt.NDArray[Any]) -> Samples:
    if pcm.dtype == np.uint8:
        return (pcm.astype(np.float32) - 128.0) / 128.0
    scale = float(np.iinfo(pcm.dtype).max) + 1.0 if np.issubdtype(pcm.dtype, np.integer) else 1.0
    return (pcm / scale).astype(np.float32)


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
    return np.clip(np.round(samples.astype(np.float64) * 32768.0), -32768, 32767).astype(np.int16)
