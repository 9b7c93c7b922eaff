"""Utterances to play and to look at: their sound, what a model hears, where it finds each phone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from antiphon.analysis.report import Clip
from antiphon.checkpoint import Checkpoint
from antiphon.data.batch import Batch
from antiphon.data.manifest import read_rows
from antiphon.data.rows import Rows
from antiphon.data.shards import read_sample
from antiphon.decoding.greedy import Hypothesis


class Listener(Protocol):
    """What this file asks of a model."""

    @property
    def frame_sec(self) -> float:
        """Seconds of an encoder frame."""

    def transcribe(self, batch: Batch) -> list[Hypothesis]:
        """Wordpieces of each utterance."""

    def align(self, batch: Batch) -> Tensor:
        """(B, P) the frame in which each phone begins."""


def listen(found: Checkpoint, folder: Path, keys: Sequence[str]) -> tuple[Clip, ...]:
    """Paired utterances of SHARDS/<corpus>, by key, with transcripts and alignments of a loaded checkpoint."""
    table = read_rows(folder).to_pylist()
    by_key = {row["key"]: (number, row) for number, row in enumerate(table)}
    rows = Rows([folder], found.tokenizer, found.audio, cache_gb=0.0)
    return tuple(_clip(found, rows, folder, *by_key[key]) for key in keys)


def sound(folder: Path, row: dict[str, Any]) -> bytes:
    """The FLAC bytes of a row of a manifest."""
    _, flac = read_sample(folder / row["shard"], row["offset"], row["bytes"], key=row["key"], crc32=row["crc32"])
    return flac or b""


def is_synthetic(source: str) -> bool:
    """Whether an audio source is a synthesiser (`espeak-ng:<voice>`), not a recording."""
    return source.startswith("espeak-ng:")


def _clip(found: Checkpoint, rows: Rows, folder: Path, number: int, row: dict[str, Any]) -> Clip:
    """Alone in its batch: a few utterances are shown, and none shall depend on another's padding."""
    model: Listener = found.model  # type: ignore[assignment]
    batch = rows.batch("paired", np.array([number]))
    on_device = batch.to(next(found.model.parameters()).device)
    phones, phones_len = batch.side("phones")
    size = int(phones_len[0])
    mel, mel_len = batch.side("mel")
    times = batch.phone_times
    return Clip(
        key=row["key"],
        text=row["text"],
        transcript=found.tokenizer.decode(model.transcribe(on_device)[0].tokens),
        speaker=row["speaker"],
        domain=row["domain"],
        seconds=row["seconds"],
        flac=sound(folder, row),
        synthetic=is_synthetic(row["source"]),
        mel=mel[0, : int(mel_len[0])].numpy(),
        frame_sec=found.audio.frame_sec,
        phones=tuple(found.tokenizer.decode_phones(phones[0, :size].tolist())),
        true=() if times is None else tuple((float(start), float(end)) for start, end in times[0, :size]),
        found=tuple((model.align(on_device)[0, :size] * model.frame_sec).tolist()),
    )
