"""Batches in the order of a plan, or of a whole split once; threads work ahead.

What a batch holds does not depend on the number of threads, on how far they are ahead, or on the worker.
"""

import itertools
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from antiphon.audio.mel import AudioSpec
from antiphon.data.batch import Batch
from antiphon.data.manifest import read_manifest
from antiphon.data.plan import Plan, rows_with
from antiphon.data.rows import Rows
from antiphon.data.utterance import KINDS, Kind
from antiphon.text.tokenizer import Tokenizer

_ROWS_AT_ONCE = 1 << 18

_Job = TypeVar("_Job")
_Result = TypeVar("_Result")


@dataclass(frozen=True, kw_only=True)
class LoaderConfig:
    """How fast batches come, never what they hold."""

    threads: int = 1
    prefetch: int = 8  # micro-batches that are read ahead
    cache_gb: float = 1.0  # of samples kept in memory; an hour of speech takes 0.12


class Loader:
    """The micro-batches of a plan. A context: its threads end with it."""

    def __init__(self, plan: Plan, tokenizer: Tokenizer, audio: AudioSpec, config: LoaderConfig | None = None) -> None:
        """audio: the model's. Raises ValueError when shards were made with another AudioSpec."""
        config = config or LoaderConfig()
        self._plan = plan
        self._rows = Rows(plan.columns.folders, tokenizer, audio, cache_gb=config.cache_gb)
        self._ahead = Ahead(config.threads, config.prefetch)

    def steps(
        self, start: int, stop: int | None = None, *, rank: int = 0, world: int = 1
    ) -> Iterator[list[tuple[int, Batch]]]:
        """From step `start` to before `stop`: this rank's micro-batches, each with its index in the step."""
        self._plan.check_world(world)
        numbers = itertools.count(start) if stop is None else range(start, stop)
        groups = ([(m.index, m.kind, m.rows) for m in self._plan.step(step)[rank::world]] for step in numbers)
        return self._ahead.map(lambda job: (job[0], self._rows.batch(job[1], job[2])), groups)

    def __enter__(self) -> "Loader":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ahead.close()


def sequential(
    folder: Path,
    tokenizer: Tokenizer,
    audio: AudioSpec,
    *,
    split: str,
    kinds: Collection[Kind] = KINDS,
    shards: Collection[str] | None = None,
    max_batch_sec: float = 120.0,
    max_batch_phones: int = 6000,
    max_batch_samples: int = 64,
    config: LoaderConfig | None = None,
) -> Iterator[Batch]:
    """Each row of a split exactly once: kind by kind, shortest first, one beyond a cap alone.

    `shards` (paths as in the manifest) takes only theirs. A batch's keys lead to all else that the manifest knows
    (`read_rows`). Raises ValueError when the split has no such row.
    """
    config = config or LoaderConfig()
    caps = (max_batch_sec, float(max_batch_phones))
    jobs = [
        (kind, found[cut])
        for kind, found, lengths in _find_rows(folder, split, kinds, shards)
        for cut in _cuts(lengths, caps, max_batch_samples)
    ]
    rows = Rows([folder], tokenizer, audio, cache_gb=0.0)
    ahead = Ahead(config.threads, config.prefetch)
    try:
        for (batch,) in ahead.map(lambda job: rows.batch(*job), ([job] for job in jobs)):
            yield batch
    finally:
        ahead.close()


def _find_rows(
    folder: Path, split: str, kinds: Collection[Kind], shards: Collection[str] | None
) -> list[tuple[Kind, npt.NDArray[np.int64], npt.NDArray[np.float64]]]:
    """(kind, row ids shortest first, lengths (N, 2) in seconds and phones) of a split."""
    manifest = read_manifest(folder)
    # No words would mean any shard; "" is none, so that an empty choice finds nothing.
    wanted: dict[str, Collection[str]] = {"split": {split}, "kind": kinds}
    wanted["shard"] = set() if shards is None else {*shards, ""}
    file = pq.ParquetFile(folder / "manifest.parquet", read_dictionary=list(wanted))
    ids, pieces, at = [np.empty(0, np.int64)], [], 0
    for piece in file.iter_batches(_ROWS_AT_ONCE, columns=[*wanted, "seconds", "num_phones"]):
        taken = rows_with(piece, wanted)
        ids.append(np.flatnonzero(taken) + at)
        pieces.append(piece.filter(pa.array(taken)))
        at += len(piece)
    rows = np.concatenate(ids)
    if not len(rows):
        raise ValueError(
            f"the split {split} of {folder} must hold {' or '.join(sorted(kinds))} rows, but holds none; it has "
            f"{manifest.counts}"
        )
    table = pa.Table.from_batches(pieces)
    words = table["kind"].cast(pa.string()).to_numpy()
    lengths = np.stack([table[name].to_numpy().astype(np.float64) for name in ("seconds", "num_phones")], axis=1)
    found: list[tuple[Kind, npt.NDArray[np.int64], npt.NDArray[np.float64]]] = []
    for kind in sorted(kinds):
        here = np.flatnonzero(words == kind)
        here = here[np.lexsort((here, lengths[here, 1], lengths[here, 0]))]
        found.append((kind, rows[here], lengths[here]))
    return found


def _cuts(lengths: npt.NDArray[np.float64], caps: tuple[float, float], max_samples: int) -> Iterator[slice]:
    """Slices of rows (N, 2), each as large as the caps allow when padded to its longest."""
    start = 0
    while start < len(lengths):
        longest: npt.NDArray[np.float64] = np.maximum.accumulate(lengths[start : start + max_samples])
        padded = longest * np.arange(1, len(longest) + 1)[:, None]
        size = max(1, int(np.count_nonzero((padded <= caps).all(axis=1))))  # padded only grows
        yield slice(start, start + size)
        start += size


class Ahead:
    """Threads that work on the next jobs while the results of the last are used."""

    def __init__(self, threads: int, prefetch: int) -> None:
        # One thread inside torch for each of ours, else they would fight for the cores. The caller keeps its own
        # number, which torch only settles for a thread when it is first asked.
        torch.get_num_threads()
        self._pool = ThreadPoolExecutor(max(1, threads), "loader", initializer=torch.set_num_threads, initargs=(1,))
        self._prefetch = prefetch

    def map(self, work: Callable[[_Job], _Result], groups: Iterable[list[_Job]]) -> Iterator[list[_Result]]:
        """The results of each group of jobs, in order; an error comes in its place."""
        waiting: deque[list[Future[_Result]]] = deque()
        source = iter(groups)
        try:
            while True:
                while sum(map(len, waiting)) <= self._prefetch and (group := next(source, None)) is not None:
                    waiting.append([self._pool.submit(work, job) for job in group])
                if not waiting:
                    return
                yield [future.result() for future in waiting.popleft()]
        finally:
            for future in itertools.chain.from_iterable(waiting):
                future.cancel()

    def close(self) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)
