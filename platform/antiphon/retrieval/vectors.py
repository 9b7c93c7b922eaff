"""From shards to vectors: a model's taps over some shards of a corpus, with the metadata of each vector.

A tap that is named after a modality reads that side of an utterance, any other tap both sides: a paired utterance gives
one row for speech and one for text at `shared`.
"""

import functools
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import Tensor

from antiphon import checkpoint as checkpoints
from antiphon.checkpoint import Checkpoint
from antiphon.data.batch import Batch
from antiphon.data.loader import LoaderConfig, sequential
from antiphon.data.manifest import Manifest, read_manifest
from antiphon.data.utterance import Kind
from antiphon.retrieval.metadata import META_SCHEMA
from antiphon.retrieval.versions import MODALITIES, DType, Encoder, Modality

SIDES: dict[Kind, tuple[Modality, ...]] = {"paired": MODALITIES, "speech": ("speech",), "text": ("text",)}
_FROM_MANIFEST = [name for name in META_SCHEMA.names if name not in ("id", "tap", "modality", "corpus")]


class EmbeddingModel(Protocol):
    """What embedding asks of a model. `needs`: the fields of a Batch that it reads, by kind."""

    needs: ClassVar[Mapping[Kind, frozenset[str]]]
    taps: ClassVar[tuple[str, ...]]

    def embed(self, batch: Batch, tap: str, side: str) -> Tensor:
        """(B, D) fp32 of norm 1."""


@dataclass(frozen=True, kw_only=True)
class EmbedConfig:
    """How vectors are computed and stored; nothing of it changes what they say beyond rounding."""

    dtype: DType = "float16"
    utterances_per_commit: int = 8192  # about so many rows a fragment, too
    max_batch_sec: float = 240.0
    max_batch_samples: int = 128
    max_bad_share: float = 0.01  # of vectors that the store refuses (not finite, zero); embedding fails above it
    loader: LoaderConfig = field(default_factory=LoaderConfig)


@dataclass(frozen=True, kw_only=True)
class EmbedJob:
    """One split of one folder of shards, and all that a worker needs to embed some of it."""

    checkpoint: Path
    device: str
    folder: Path
    split: str
    taps: tuple[str, ...]
    store: Path
    encoder: Encoder
    config: EmbedConfig

    @functools.cached_property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder)

    @property
    def inputs(self) -> dict[str, str]:
        """What the store notes about where its rows came from."""
        return {self.manifest.corpus: self.manifest.manifest_sha256}


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """vectors (n, D) and their metadata, of so many utterances; left_out counts by reason the vectors that are not."""

    vectors: npt.NDArray[np.float32]
    table: pa.Table
    utterances: int
    audio_sec: float
    left_out: Counter[str]


def sides_of(tap: str) -> tuple[Modality, ...]:
    """The sides of an utterance that a tap reads."""
    return tuple(side for side in MODALITIES if side == tap) or MODALITIES


def row_id(corpus: str, key: str, side: Modality) -> str:
    """The name of a row in its tap."""
    return f"{corpus}/{key}#{side}"


@functools.lru_cache(maxsize=1)  # a worker process embeds group after group with one model
def load_model(checkpoint: Path, device: str) -> tuple[EmbeddingModel, Checkpoint]:
    """The model on its device, in eval mode, and the checkpoint that it came from."""
    found = checkpoints.load(checkpoint, device)
    return cast(EmbeddingModel, found.model), found


def find_dim(job: EmbedJob) -> int:
    """D, by embedding the shortest utterance. Raises ValueError when no tap reads anything of it."""
    model, found = _model_of(job)
    batch = next(sequential(job.folder, found.tokenizer, found.audio, split=job.split, max_batch_samples=1))
    for tap in job.taps:
        for side in sides_of(tap):
            if _has(model, batch, side):
                return int(model.embed(batch.to(job.device), tap, side).shape[1])
    raise ValueError(
        f"taps must read what {job.folder} holds, but {', '.join(job.taps)} read nothing of its {batch.kind} rows; "
        "name other taps, or ingest with phonemes"
    )


def chunks(job: EmbedJob, shards: Sequence[str], stored: Mapping[str, set[str]]) -> Iterator[Chunk]:
    """The vectors of some shards that are not `stored` (ids by tap), all of an utterance's in one chunk."""
    model, found = _model_of(job)
    mine = [("shard", "in", list(shards))]
    known = pq.read_table(job.folder / "manifest.parquet", columns=_FROM_MANIFEST, filters=mine)
    rows = {row["key"]: row for row in known.to_pylist()}
    batches = sequential(
        job.folder, found.tokenizer, found.audio, split=job.split, shards=shards, config=job.config.loader,
        max_batch_sec=job.config.max_batch_sec, max_batch_samples=job.config.max_batch_samples,
    )  # fmt: skip
    growing = _Growing(job.manifest.corpus, rows)
    for batch in batches:
        growing.embed(model, batch.to(job.device), job.taps, stored)
        if len(growing.keys) >= job.config.utterances_per_commit:
            yield growing.finish()
            growing = _Growing(job.manifest.corpus, rows)
    if growing.vectors or growing.left_out:
        yield growing.finish()


class _Growing:
    """A chunk that is being filled."""

    def __init__(self, corpus: str, rows: Mapping[str, dict[str, Any]]) -> None:
        """rows: the manifest's, by key."""
        self.corpus, self.rows = corpus, rows
        self.vectors: list[npt.NDArray[np.float32]] = []
        self.records: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.audio_sec = 0.0
        self.left_out: Counter[str] = Counter()

    def embed(self, model: EmbeddingModel, batch: Batch, taps: Sequence[str], stored: Mapping[str, set[str]]) -> None:
        """Add what a batch gives at each tap that is not stored."""
        spoken = False
        for tap in taps:
            for side in sides_of(tap):
                if side not in SIDES[batch.kind]:
                    continue
                ids = [row_id(self.corpus, key, side) for key in batch.keys]
                new = [place for place, name in enumerate(ids) if name not in stored[tap]]
                if not _has(model, batch, side):
                    self.left_out[f"{side} without {', '.join(sorted(model.needs[side]))}"] += len(new)
                elif new:
                    self.vectors.append(model.embed(batch, tap, side).float().cpu().numpy()[new])
                    self.records += [self._record(ids[place], batch.keys[place], tap, side) for place in new]
                    self.keys.update(batch.keys[place] for place in new)
                    spoken = spoken or side == "speech"
        self.audio_sec += batch.seconds if spoken else 0.0

    def finish(self) -> Chunk:
        return Chunk(
            vectors=np.concatenate(self.vectors) if self.vectors else np.empty((0, 0), np.float32),
            table=pa.Table.from_pylist(self.records, schema=META_SCHEMA),
            utterances=len(self.keys), audio_sec=self.audio_sec, left_out=self.left_out,
        )  # fmt: skip

    def _record(self, name: str, key: str, tap: str, side: Modality) -> dict[str, Any]:
        own = {"id": name, "key": f"{self.corpus}/{key}", "corpus": self.corpus, "tap": tap, "modality": side}
        return {**self.rows[key], **own}


def _model_of(job: EmbedJob) -> tuple[EmbeddingModel, Checkpoint]:
    model, found = load_model(job.checkpoint, job.device)
    for tap in job.taps:
        if tap not in model.taps:
            raise ValueError(
                f"taps must be among the model's {', '.join(model.taps)}, but {tap!r} is not; leave it out"
            )
    return model, found


def _has(model: EmbeddingModel, batch: Batch, side: Modality) -> bool:
    """Does the batch have all that the model reads of a side? A text without phonemes, for one, may lack them."""
    return side in SIDES[batch.kind] and all(getattr(batch, name) is not None for name in model.needs[side])
