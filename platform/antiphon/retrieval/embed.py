"""Embed shards into a store, by one process or by Ray.

Work goes by groups of shards. Rows are committed every few thousand utterances, all taps and sides of an utterance at
once, and what a store holds is not computed again: a run that was killed is started again and ends with each row once.
One worker computes here; more are Ray tasks that write fragments, and this process commits those in the order of the
manifest, so that the rows lie as one worker's would.
"""

import os
import sys
import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import torch
from tqdm import tqdm

from antiphon import checkpoint as checkpoints
from antiphon.retrieval.bad_vectors import AddReport
from antiphon.retrieval.store import Staged, Store
from antiphon.retrieval.vectors import SIDES, Chunk, EmbedConfig, EmbedJob, chunks, find_dim, row_id, sides_of
from antiphon.retrieval.versions import Encoder, list_versions

TAPS = ("speech", "text", "shared")
_BAD = ("not_finite", "zero_norm", "overflow")
_CPUS_A_TASK = 0.5  # Ray's count, not a limit: two workers on two busy cores must not wait for ever


@dataclass(frozen=True, kw_only=True)
class EmbedReport:
    """What one run of `embed` did."""

    utterances: int  # that were computed
    vectors: int  # that were added
    stored_before: int  # utterances that needed nothing
    left_out: dict[str, int]  # vectors by reason
    audio_sec: float
    wall_sec: float  # from the first group on

    @property
    def audio_sec_per_sec(self) -> float:
        """Seconds of speech a second, all workers together."""
        return self.audio_sec / max(self.wall_sec, 1e-9)

    def __str__(self) -> str:
        lost = "".join(f"; {count:,} left out: {reason}" for reason, count in sorted(self.left_out.items()))
        return (
            f"{self.vectors:,} vectors of {self.utterances:,} utterances in {self.wall_sec:.1f} s, "
            f"{self.audio_sec_per_sec:,.0f} audio s/s; {self.stored_before:,} utterances were stored before{lost}"
        )


def embed(
    checkpoint: Path,
    shards: Sequence[Path],
    out: Path,
    *,
    split: str = "test",
    taps: Sequence[str] = TAPS,
    workers: int = 1,
    device: str = "auto",
    config: EmbedConfig | None = None,
) -> EmbedReport:
    """Embed a split of each folder of shards into the store `out`, which is made when it is not there.

    Raises ValueError when the store belongs to another checkpoint, when it holds rows of another ingest of a corpus, or
    when more vectors than config.max_bad_share are bad.
    """
    config = config or EmbedConfig()
    found = checkpoints.find(checkpoint).resolve()
    encoder = Encoder(checkpoint=checkpoints.verify(found)["fingerprint"], path=os.path.relpath(found, out.resolve()))
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    jobs = [
        EmbedJob(
            checkpoint=found, device=device, folder=folder.resolve(), split=split, taps=tuple(taps),
            store=out.resolve(), encoder=encoder, config=config,
        )
        for folder in shards
    ]  # fmt: skip
    store = _open(jobs)
    pending = [_pending(job, store) for job in jobs]
    meter = _Meter(sum(each.utterances for each in pending), sum(each.stored_before for each in pending))
    for job, each in zip(jobs, pending, strict=True):
        if workers > 1 and len(each.groups) > 1:
            _embed_by_ray(job, each.groups, store, workers, meter)
        else:
            _embed_here(job, each.groups, store, meter)
    report = meter.close()
    bad = sum(report.left_out.get(reason, 0) for reason in _BAD)
    # The refused ones are computed again by every run: their share is of all that were asked for, as in one run.
    seen = bad + report.vectors + sum(each.vectors_before for each in pending)
    if bad > config.max_bad_share * seen:
        raise ValueError(
            f"at most {config.max_bad_share:.1%} of the vectors may be bad, but {bad:,} of {seen:,} are "
            f"({report.left_out}); train the model on, or raise max_bad_share"
        )
    return report


def _open(jobs: Sequence[EmbedJob]) -> Store:
    """The store, made if need be, once it is sure that these jobs may write into it."""
    job = jobs[0]
    if not list_versions(job.store):
        return Store.create(job.store, dim=find_dim(job), encoder=job.encoder, dtype=job.config.dtype)
    store = Store(job.store)
    if store.version.encoder.fingerprint != job.encoder.fingerprint:
        raise ValueError(
            f"{job.store} must be embedded by one checkpoint, {store.version.encoder.checkpoint}, but {job.checkpoint} "
            f"is {job.encoder.checkpoint}; embed into a new store"
        )
    for job in jobs:
        for corpus, hash_now in job.inputs.items():
            if store.version.inputs.get(corpus, hash_now) != hash_now:
                raise ValueError(
                    f"{job.store} must hold one ingest of {corpus}, but {job.folder} is another than its rows came "
                    "from; embed into a new store"
                )
    return store


@dataclass(frozen=True, kw_only=True)
class _Pending:
    """What a job has still to do, and what the store has of it."""

    groups: list[list[str]]  # of shards with something to do
    utterances: int  # to do in them
    stored_before: int  # utterances that need nothing
    vectors_before: int  # of this split and these taps that the store holds


def _pending(job: EmbedJob, store: Store) -> _Pending:
    columns = ["key", "kind", "shard"]
    table = pq.read_table(job.folder / "manifest.parquet", columns=columns, filters=[("split", "=", job.split)])
    if len(table) == 0:
        splits = ", ".join(sorted(job.manifest.counts))
        raise ValueError(
            f"{job.folder} must hold the split {job.split}, but does not; take one of its splits, {splits}"
        )
    stored = {tap: store.ids(tap) for tap in job.taps}
    sizes: Counter[str] = Counter()
    vectors_before = 0
    todo: Counter[str] = Counter()
    for key, kind, shard in zip(*(table[name].to_pylist() for name in columns), strict=True):
        rows = [(tap, side) for tap in job.taps for side in sides_of(tap) if side in SIDES[kind]]
        held = sum(row_id(job.manifest.corpus, key, side) in stored[tap] for tap, side in rows)
        todo[shard] += held < len(rows)
        vectors_before += held
        sizes[shard] += 1
    # The same groups in every run, so that their batches are the same and a finished batch is recognised as a whole.
    groups: list[list[str]] = [[]]
    for shard in sizes:
        if sum(sizes[name] for name in groups[-1]) >= job.config.utterances_per_commit:
            groups.append([])
        groups[-1].append(shard)
    return _Pending(
        groups=[group for group in groups if sum(todo[shard] for shard in group)], utterances=todo.total(),
        stored_before=sizes.total() - todo.total(), vectors_before=vectors_before,
    )  # fmt: skip


def _embed_here(job: EmbedJob, groups: Sequence[Sequence[str]], store: Store, meter: "_Meter") -> None:
    for group in groups:
        for chunk in chunks(job, group, {tap: store.ids(tap) for tap in job.taps}):
            report = store.add(
                chunk.vectors, chunk.table, encoder=job.encoder, on_bad_vectors="drop", inputs=job.inputs
            )
            meter.add(chunk, report)


def _embed_by_ray(job: EmbedJob, groups: Sequence[Sequence[str]], store: Store, workers: int, meter: "_Meter") -> None:
    """A group a task, at most two a worker ahead of the commits; a task that dies is tried again."""
    import ray

    mine = not ray.is_initialized()
    if mine:
        # "local", or Ray would look for a cluster that somebody left on this machine.
        own = {"address": "local", "num_cpus": max(1, round(workers * _CPUS_A_TASK))}
        ray.init(log_to_driver=False, **({} if os.environ.get("RAY_ADDRESS") else own))
    try:
        task = ray.remote(max_retries=3, num_cpus=_CPUS_A_TASK, num_gpus=int(job.device == "cuda"))(_stage)
        waiting, running = deque(groups), deque[Any]()
        while waiting or running:
            while waiting and len(running) < 2 * workers:
                running.append(task.remote(job, waiting.popleft()))
            done: list[tuple[Staged, Chunk]] = ray.get(running.popleft())
            store.commit([staged for staged, _ in done], inputs=job.inputs)
            for staged, chunk in done:
                meter.add(chunk, staged.report)
    finally:
        if mine:
            ray.shutdown()


def _stage(job: EmbedJob, group: Sequence[str]) -> list[tuple[Staged, Chunk]]:
    """Write the fragments of a group of shards, unlisted. A chunk comes back without its vectors."""
    store, done = Store(job.store), []
    for chunk in chunks(job, group, {tap: store.ids(tap) for tap in job.taps}):
        staged = store.stage(chunk.vectors, chunk.table, encoder=job.encoder, on_bad_vectors="drop")
        done.append((staged, replace(chunk, vectors=chunk.vectors[:0], table=chunk.table[:0])))
    return done


class _Meter:
    """Adds up the report; shows a bar on a terminal, a line a commit elsewhere."""

    def __init__(self, utterances: int, stored_before: int) -> None:
        self._total, self._stored_before, self._started = utterances, stored_before, time.monotonic()
        self._utterances = self._vectors = 0
        self._audio_sec, self._left_out = 0.0, Counter[str]()
        self._bar = tqdm(total=utterances, unit="utt", desc="embed", disable=not sys.stderr.isatty(), leave=False)

    def add(self, chunk: Chunk, report: AddReport) -> None:
        self._utterances += chunk.utterances
        self._vectors += report.added
        self._audio_sec += chunk.audio_sec
        self._left_out += chunk.left_out + Counter(reject.reason for reject in report.rejected)
        self._bar.update(chunk.utterances)
        if self._bar.disable:
            speed = self._audio_sec / max(time.monotonic() - self._started, 1e-9)
            done = f"{self._utterances:,} of {self._total:,} utterances, {self._vectors:,} vectors"
            print(f"embed: {done}, {speed:,.0f} audio s/s", file=sys.stderr)

    def close(self) -> EmbedReport:
        self._bar.close()
        return EmbedReport(
            utterances=self._utterances, vectors=self._vectors, stored_before=self._stored_before,
            left_out=dict(self._left_out), audio_sec=self._audio_sec, wall_sec=time.monotonic() - self._started,
        )  # fmt: skip
