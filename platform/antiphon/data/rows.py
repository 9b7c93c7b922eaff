"""Any rows of some folders of shards as a batch: read a span, check it, decode, log-mel, pad.

Audio is kept in memory between epochs as the 16-bit samples that the shard stores, which is exact and a third of the
size of its features; what a batch holds does not depend on it.
"""

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
from torch import Tensor

from antiphon.audio.mel import AudioSpec, log_mel
from antiphon.audio.recording import AudioError
from antiphon.audio.waveform import decode_flac
from antiphon.data.batch import Batch, pad
from antiphon.data.manifest import read_manifest
from antiphon.data.shards import parse_sample
from antiphon.data.utterance import Kind, Sample
from antiphon.text.tokenizer import Tokenizer

_MAX_OPEN_SHARDS = 64
_ROWS_AT_ONCE = 1 << 18
_PCM_SCALE = 32768.0
# Sides are padded to these multiples (320 ms of mel): batches then come in few shapes, and what a shape costs at its
# first time (kernels that oneDNN or cuDNN choose and build) is paid once.
_MULTIPLES = {"mel": 32, "tokens": 4, "phones": 8}


class Rows:
    """Batches of any rows; global row ids count through the folders in their order. For many threads at once."""

    def __init__(self, folders: Sequence[Path], tokenizer: Tokenizer, audio: AudioSpec, *, cache_gb: float) -> None:
        """Raises ValueError when a folder is unfinished or was made with another AudioSpec than `audio`."""
        for folder in folders:
            audio.check_same(read_manifest(folder).audio, "the model", str(folder))
        self._tokenizer, self._audio = tokenizer, audio
        self._spans = _Spans(folders)
        self._files = _Files()
        self._cache: dict[int, _Loaded] = {}
        self._room = int(cache_gb * 1e9)
        self._lock = threading.Lock()

    def batch(self, kind: Kind, rows: npt.NDArray[np.integer]) -> Batch:
        """One batch of a kind from rows that have at least its sides. Raises ValueError when a shard is damaged.

        A text side that some row lacks is missing from the batch.
        """
        loaded = [self._load(int(row), with_audio=kind != "text") for row in rows]
        sides: dict[str, Tensor] = {}
        seconds = 0.0
        if kind != "text":
            waves = [torch.from_numpy(one.pcm.astype(np.float32) / _PCM_SCALE) for one in loaded if one.pcm is not None]
            seconds = sum(map(len, waves)) / self._audio.sample_rate
            sides["mel"], sides["mel_len"] = pad(
                [log_mel(wave, self._audio) for wave in waves], multiple=_MULTIPLES["mel"]
            )
        if kind != "speech":
            for name in ("tokens", "phones"):
                if values := _of_all(loaded, name):
                    sides[name], sides[f"{name}_len"] = pad(values, multiple=_MULTIPLES[name])
        if kind == "paired" and (times := _of_all(loaded, "phone_times")):
            sides["phone_times"] = pad(times, multiple=_MULTIPLES["phones"])[0]
        return Batch(kind=kind, keys=tuple(one.key for one in loaded), seconds=seconds, **sides)

    def _load(self, row: int, *, with_audio: bool) -> "_Loaded":
        """From the cache, else the shard. The cache fills and stays: the row used longest ago is the next one."""
        with self._lock:
            known = self._cache.get(row)
        if known is not None and (known.pcm is not None or not with_audio):
            return known
        path, offset, num_bytes, crc32 = self._spans.find(row)
        data = self._files.read(path, offset, num_bytes)
        sample, flac = parse_sample(data, num_bytes, f"{path} at {offset:,}", crc32=crc32)
        if with_audio and flac is None:
            raise ValueError(f"sample {sample.key} of {path} must have audio, but has none; ingest the corpus again")
        loaded = self._encode(sample, flac if with_audio else None, path)
        with self._lock:
            room = self._room + (self._cache[row].num_bytes if row in self._cache else 0) - loaded.num_bytes
            if room >= 0:
                self._cache[row], self._room = loaded, room
        return loaded

    def _encode(self, sample: Sample, flac: bytes | None, path: Path) -> "_Loaded":
        try:
            wave = None if flac is None else decode_flac(flac)
            tokens = None if sample.text is None else torch.tensor(self._tokenizer.encode(sample.text))
            phones = None if sample.phones is None else torch.tensor(self._tokenizer.encode_phones(sample.phones))
        except (AudioError, ValueError) as error:
            raise ValueError(f"sample {sample.key} of {path}: {error}") from error
        if wave is not None and wave.sample_rate != self._audio.sample_rate:
            raise ValueError(
                f"sample_rate must be {self._audio.sample_rate}, but is {wave.sample_rate} in sample {sample.key} of "
                f"{path}; ingest the corpus again"
            )
        return _Loaded(
            key=sample.key,
            pcm=None if wave is None else np.rint(wave.samples * _PCM_SCALE).astype(np.int16),
            tokens=tokens,
            phones=phones,
            phone_times=None if sample.phone_times is None else torch.tensor(sample.phone_times),
        )


@dataclass(frozen=True, kw_only=True)
class _Loaded:
    """One utterance, encoded; pcm (N,) int16 is None as long as nobody asked for the audio."""

    key: str
    pcm: npt.NDArray[np.int16] | None
    tokens: Tensor | None
    phones: Tensor | None
    phone_times: Tensor | None

    @property
    def num_bytes(self) -> int:
        tensors = [tensor.nbytes for tensor in (self.tokens, self.phones, self.phone_times) if tensor is not None]
        return sum(tensors) + (0 if self.pcm is None else self.pcm.nbytes) + 1000  # the objects around them


def _of_all(loaded: Sequence[_Loaded], side: str) -> list[Tensor]:
    """The side of each utterance, or nothing when one lacks it."""
    values = [getattr(one, side) for one in loaded]
    return [] if any(value is None for value in values) else values


class _Spans:
    """Where each row lies: 20 bytes a row in memory, whatever the manifests say besides."""

    def __init__(self, folders: Sequence[Path]) -> None:
        self._shards: list[Path] = []
        pieces: list[tuple[npt.NDArray[np.integer], ...]] = []
        for folder in folders:
            known: dict[str, int] = {}
            file = pq.ParquetFile(folder / "manifest.parquet", read_dictionary=["shard"])
            for piece in file.iter_batches(_ROWS_AT_ONCE, columns=["shard", "offset", "bytes", "crc32"]):
                names = piece["shard"].dictionary.to_pylist()
                codes = np.array([known.setdefault(name, len(known)) for name in names], np.int32)
                shard = (codes + len(self._shards))[piece["shard"].indices.to_numpy()]
                numbers = [piece[name].to_numpy() for name in ("offset", "bytes", "crc32")]
                pieces.append((shard, numbers[0], numbers[1].astype(np.int32), numbers[2].astype(np.uint32)))
            self._shards += [folder / name for name in known]
        self._shard, self._offset, self._bytes, self._crc32 = map(np.concatenate, zip(*pieces, strict=True))

    def find(self, row: int) -> tuple[Path, int, int, int]:
        """(shard, offset, bytes, CRC-32) of a row."""
        numbers = (int(column[row]) for column in (self._offset, self._bytes, self._crc32))
        return (self._shards[self._shard[row]], *numbers)


class _Handle:
    """An open file, closed when the last reader has let go of it."""

    def __init__(self, path: Path) -> None:
        self.number = -1
        self.number = os.open(path, os.O_RDONLY)

    def __del__(self) -> None:
        if self.number >= 0:
            os.close(self.number)


class _Files:
    """The shards used last, open; reads at an offset from many threads at once."""

    def __init__(self) -> None:
        self._open: OrderedDict[Path, _Handle] = OrderedDict()
        self._lock = threading.Lock()

    def read(self, path: Path, offset: int, num_bytes: int) -> bytes:
        with self._lock:
            handle = self._open.pop(path, None)
            if handle is None:
                try:
                    handle = _Handle(path)
                except FileNotFoundError:
                    raise ValueError(
                        f"{path} must exist, for the manifest lists it, but does not; ingest again"
                    ) from None
            self._open[path] = handle
            while len(self._open) > _MAX_OPEN_SHARDS:
                self._open.popitem(last=False)
        return os.pread(handle.number, num_bytes, offset)
