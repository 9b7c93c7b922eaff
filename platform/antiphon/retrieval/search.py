"""Ask a store with a text or a recording: the encoder that made its vectors embeds the query, rows come back by score.

A text looks among speech and a recording among text, unless the modality is named. A published index answers where it
covers the rows as they are; otherwise the search is exact.
"""

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import torch

from antiphon import checkpoint as checkpoints
from antiphon.audio.mel import AudioSpec, log_mel
from antiphon.audio.recording import AudioError
from antiphon.audio.waveform import read_audio, resample
from antiphon.checkpoint import Checkpoint
from antiphon.data.batch import Batch, pad
from antiphon.retrieval.exact import Exact
from antiphon.retrieval.index import Index
from antiphon.retrieval.store import Store
from antiphon.retrieval.vectors import EmbeddingModel, load_model
from antiphon.retrieval.versions import Modality
from antiphon.text.normalize import normalize
from antiphon.text.phonemes import Phonemizer
from antiphon.text.tokenizer import Tokenizer

_log = logging.getLogger(__name__)

_MIN_SEC, _MAX_SEC = 0.1, 120.0
_MAX_CHARS = 2000


@dataclass(frozen=True, kw_only=True)
class Hit:
    """One row that answers a query; score is the cosine, 1 at best."""

    score: float
    id: str
    modality: Modality
    key: str  # <corpus>/<utterance>: both sides of a pair have the same
    text: str
    speaker: str
    domain: str
    seconds: float
    source: str  # where the audio came from: a path, or espeak-ng:<voice>; "" for text alone
    shard: str  # with offset and bytes: where the sample lies in the corpus's shards
    offset: int
    bytes: int


class Searcher:
    """A store that is open for queries at one tap; the encoder is loaded at the first query that needs it."""

    def __init__(
        self,
        store: Store,
        *,
        tap: str = "shared",
        checkpoint: Path | None = None,
        device: str = "cpu",
        exact: bool = False,
    ) -> None:
        """checkpoint: where the store's encoder lies now, when it has moved. exact: never use an index."""
        self.store, self.tap = store, tap
        self._checkpoint, self._device, self._exact = checkpoint, device, exact
        self._engines: dict[Modality, Exact | Index] = {}
        self._tables: dict[Modality, pa.Table] = {}

    def by_text(self, text: str, *, k: int = 10, modality: Modality = "speech", language: str = "en") -> list[Hit]:
        """The k best rows for a text. Raises ValueError when nothing of it is known to the encoder."""
        batch = text_query(text, self.encoder.tokenizer, self._phonemizer, language)
        return self.by_vector(self._embed(batch, "text"), k=k, modality=modality)

    def by_audio(self, path: Path, *, k: int = 10, modality: Modality = "text") -> list[Hit]:
        """The k best rows for a recording. Raises ValueError when it cannot be read, is empty or too long."""
        batch = audio_query(path, self.encoder.audio)
        return self.by_vector(self._embed(batch, "speech"), k=k, modality=modality)

    def by_vector(self, vector: npt.NDArray[Any], *, k: int = 10, modality: Modality) -> list[Hit]:
        """The k best rows for a vector (D,) of the store's encoder."""
        scores, rows = self.engine(modality).search(vector[None], k)
        if modality not in self._tables:
            self._tables[modality] = self.store.table(self.tap, modality)
        found = rows[0] >= 0  # an index may find fewer than k
        records = self._tables[modality].take(pa.array(rows[0][found])).to_pylist()
        return [_hit(float(score), record) for score, record in zip(scores[0][found], records, strict=True)]

    def engine(self, modality: Modality) -> Exact | Index:
        """What answers for a modality. Raises ValueError when the store has no such rows."""
        if modality not in self._engines:
            entry = None if self._exact else self.store.version.index_of(self.tap, modality)
            if entry is not None and entry.file is not None:
                self._engines[modality] = Index(self.store, entry)
            else:
                parts, norm = self.store.parts(self.tap, modality), self.store.max_norm(self.tap, modality)
                self._engines[modality] = Exact(parts, max_norm=norm, device=self._device)
            if entry is None and any(e.info.tap == self.tap and e.file for e in self.store.version.indexes):
                _log.warning("the index of %s is of fewer or other rows; searching exactly", modality)
        return self._engines[modality]

    @functools.cached_property
    def encoder(self) -> Checkpoint:
        """The checkpoint that made the vectors. Raises ValueError when it is not there, or another one is."""
        made_by = self.store.version.encoder
        path = self._checkpoint or self.store.folder / made_by.path
        if not path.is_dir():
            raise ValueError(
                f"the checkpoint {path} that made {self.store.folder} must be there to embed the query, but is not; "
                "say where it lies now with --checkpoint"
            )
        fingerprint = checkpoints.verify(checkpoints.find(path))["fingerprint"]
        if fingerprint != made_by.checkpoint:
            raise ValueError(
                f"the query must be embedded by the checkpoint that made {self.store.folder}, {made_by.checkpoint}, "
                f"but {path} is {fingerprint}; give the right one or embed again"
            )
        return load_model(checkpoints.find(path).resolve(), self._device)[1]

    @functools.cached_property
    def _phonemizer(self) -> Phonemizer:
        return Phonemizer(self.encoder.tokenizer.lexicon)

    def _embed(self, batch: Batch, side: Modality) -> npt.NDArray[np.float32]:
        model: EmbeddingModel = self.encoder.model  # type: ignore[assignment]
        vector: npt.NDArray[np.float32] = model.embed(batch.to(self._device), self.tap, side).float().cpu().numpy()[0]
        return vector


def search(
    folder: Path,
    *,
    text: str | None = None,
    audio: Path | None = None,
    k: int = 10,
    modality: Modality | None = None,
    tap: str = "shared",
    checkpoint: Path | None = None,
    device: str = "cpu",
    exact: bool = False,
) -> list[Hit]:
    """One query to the store in a folder, by text or by an audio file; the other modality answers unless named."""
    searcher = Searcher(Store(folder), tap=tap, checkpoint=checkpoint, device=device, exact=exact)
    if text is not None and audio is None:
        return searcher.by_text(text, k=k, modality=modality or "speech")
    if audio is not None and text is None:
        return searcher.by_audio(audio, k=k, modality=modality or "text")
    raise ValueError(
        f"a query must be a text or an audio file, but is {'neither' if text is None else 'both'}; give one"
    )


def text_query(text: str, tokenizer: Tokenizer, phonemizer: Phonemizer, language: str = "en") -> Batch:
    """A text as people write it -> a batch of one. Raises ValueError when the encoder knows nothing of it."""
    if len(text) > _MAX_CHARS:
        raise ValueError(f"a query must have at most {_MAX_CHARS:,} characters, but has {len(text):,}; shorten it")
    spoken = normalize(text, language)
    if not spoken:
        raise ValueError(f"a query must hold a word, but {text!r} holds none that is spoken; write it out")
    tokens, tokens_len = pad([torch.tensor(tokenizer.encode(spoken))])
    phones, phones_len = pad([torch.tensor(tokenizer.encode_phones(phonemizer.pronounce(spoken, language)))])
    return Batch(
        kind="text", keys=("query",), tokens=tokens, tokens_len=tokens_len, phones=phones, phones_len=phones_len
    )


def audio_query(path: Path, spec: AudioSpec) -> Batch:
    """An audio file -> a batch of one, with the features that the encoder was trained on."""
    try:
        wave = read_audio(path)
    except AudioError as error:
        raise ValueError(
            f"a query must be a readable recording, but {path} is not: {error}; give another file"
        ) from error
    if not _MIN_SEC <= wave.seconds <= _MAX_SEC:
        limits = f"{_MIN_SEC} to {_MAX_SEC:.0f} s"
        raise ValueError(f"a query must last {limits}, but {path} lasts {wave.seconds:.2f} s; cut out a part of it")
    samples = resample(wave.samples, wave.sample_rate, spec.sample_rate)
    mel, mel_len = pad([log_mel(torch.from_numpy(samples), spec)])
    return Batch(kind="speech", keys=("query",), seconds=wave.seconds, mel=mel, mel_len=mel_len)


def table(hits: Sequence[Hit]) -> str:
    """For people: rank, score, speaker, domain, text and path of each hit, a line each."""
    heads = {"rank": 4, "score": 6, "speaker": 14, "domain": 9, "sec": 5}
    lines = [" ".join(f"{name:>{width}}" for name, width in heads.items()) + "  text  [path]"]
    for rank, hit in enumerate(hits, start=1):
        seconds = f"{hit.seconds:.1f}" if hit.seconds else "-"
        facts = (f"{rank}", f"{hit.score:.3f}", hit.speaker or "-", hit.domain or "-", seconds)
        row = " ".join(f"{fact:>{width}}" for fact, width in zip(facts, heads.values(), strict=True))
        lines.append(f"{row}  {hit.text or '-'}  [{hit.source or hit.id}]")
    return "\n".join(lines)


def _hit(score: float, record: dict[str, Any]) -> Hit:
    facts: dict[str, Any] = {
        name: record[name] or "" for name in ("id", "key", "text", "speaker", "domain", "source", "shard")
    }
    facts |= {name: record[name] or 0 for name in ("modality", "seconds", "offset", "bytes")}
    return Hit(score=score, **facts)
