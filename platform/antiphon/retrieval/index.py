"""FAISS indexes over the sets of a store, published only when they find what exact search finds.

An index of speech is asked by text and the other way round, and those queries lie elsewhere than the rows: recall with
rows as queries looks far better than what users get. So the cells are trained on both modalities, the number of cells
to look into is chosen with queries of the other modality, and recall is reported with yet other queries of it.
The only door to faiss; everything else runs without it.
"""

import importlib
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch

from antiphon import files
from antiphon.config import signature
from antiphon.retrieval import versions
from antiphon.retrieval.exact import Exact, check_queries
from antiphon.retrieval.store import Store
from antiphon.retrieval.versions import MODALITIES, IndexEntry, IndexInfo, IndexKind, Modality, StoredFile
from antiphon.seed import derive_seed

Floats = npt.NDArray[np.float32]
Found = tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]

_DISTRIBUTIONS = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
_ROWS_ADDED = 65_536  # at a time, in fp32
_TIMED = 100  # searches with one query
_MIN_TRAIN_PER_LIST = 39  # k-means of faiss warns below
_MAX_LISTS = 65_536
_KMEANS_ROUNDS = 10
_TOP = 10


@dataclass(frozen=True, kw_only=True)
class IndexConfig:
    """How to index one tap of a store."""

    tap: str = "shared"
    kind: Literal["auto", "exact", "flat", "ivf_flat"] = "auto"
    max_exact_rows: int = 1_000_000  # auto searches sets up to this size exactly, larger ones by ivf_flat
    target_recall: float = 0.95  # of the best one and of the best ten; below it nothing is published
    num_queries: int = 1000  # of the other modality: so many choose num_probes, as many others measure recall
    num_lists: int = 0  # cells; 0 is 4 sqrt(rows), or as many as there are training vectors for
    num_probes: int = 0  # cells that a query looks into; 0 is about the fewest that reach the target, up to half
    train_per_list: int = 64  # training vectors a cell, half of them of the other modality
    seed: int = 0


class Index:
    """A published FAISS index, read after its hash was checked. Searches as `Exact` does."""

    def __init__(self, store: Store, entry: IndexEntry) -> None:
        """entry: one of the store's, with a file. Raises ValueError when a byte of the file has changed."""
        assert entry.file is not None, "exact search has no file"
        self.info = entry.info
        self._index = import_faiss().read_index(str(store.path(entry.file)))

    def search(self, queries: npt.NDArray[Any], k: int, *, num_probes: int | None = None) -> Found:
        """queries (Q, D) -> scores (Q, k') and rows (Q, k'), best first, k' = min(k, N); row -1 where none was found.

        num_probes holds for this call; the index does not change.
        """
        check_queries(torch.from_numpy(queries), self.info.dim, k)
        return _search(self._index, queries, min(k, self.info.rows), num_probes or self.info.num_probes)


def build(store: Store, config: IndexConfig) -> list[IndexInfo]:
    """Index each modality of a tap, measure, and publish all of them in one new version of the store.

    Does nothing when these rows were indexed with this config.
    Raises ValueError, and publishes nothing, when an index stays below the target recall or faiss is missing.
    """
    held = [modality for modality in MODALITIES if (config.tap, modality) in store.sets()]
    if not held:
        store.parts(config.tap, MODALITIES[0])  # raises, saying what the store holds
    made = [store.version.index_of(config.tap, modality) for modality in held]
    if all(entry is not None and entry.config == signature(config) for entry in made):
        return [entry.info for entry in made if entry is not None]
    entries = [_build_one(store, modality, config) for modality in held]
    store.publish(entries)
    return [entry.info for entry in entries]


def import_faiss() -> Any:
    """The module. Raises ValueError that names the extras when it is missing, or was installed twice."""
    installed = [name for name in _DISTRIBUTIONS if _is_installed(name)]
    if len(installed) > 1:
        raise ValueError(
            f"the module faiss must come from one distribution, but {' and '.join(installed)} are installed; uninstall "
            "them and install one extra, antiphon[cpu] or antiphon[gpu], never both"
        )
    try:
        return importlib.import_module("faiss")
    except ImportError as error:
        raise ValueError(
            "this index needs the module faiss, but it is not installed; install one extra, antiphon[cpu] or "
            "antiphon[gpu], never both, or search exactly with kind exact"
        ) from error


def _is_installed(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def _build_one(store: Store, modality: Modality, config: IndexConfig) -> IndexEntry:
    parts = store.parts(config.tap, modality)
    exact = Exact(parts, max_norm=store.max_norm(config.tap, modality))
    others = _Others.of(store, modality, config)
    fragments = tuple(fragment.id for fragment in store.version.of(config.tap, modality))
    info = _measure_exact(exact, parts, modality, others, config)
    kind: IndexKind = config.kind if config.kind != "auto" else "exact"
    if config.kind == "auto" and exact.rows > config.max_exact_rows:
        kind = "ivf_flat"
    if kind == "exact":
        return IndexEntry(fragments=fragments, file=None, config=signature(config), info=info)
    if len(others.measuring) == 0:
        raise ValueError(
            f"an index of {modality} must be measured with queries of {others.modality}, but tap {config.tap} of "
            f"{store.folder} has none; embed both sides or search exactly with kind exact"
        )
    started = time.perf_counter()
    index, num_lists = _fill(parts, kind, others.training, config)
    build_sec = time.perf_counter() - started
    num_probes = config.num_probes if num_lists else 0
    if num_lists and not num_probes:
        num_probes = _choose_probes(index, num_lists, exact, others.choosing, config.target_recall)
    at_1, at_10 = _recall(index, exact, others.measuring, num_probes)
    if min(at_1, at_10) < config.target_recall:
        raise ValueError(
            f"the {modality} index of tap {config.tap} must find {config.target_recall:.3f} of the best one and of the "
            f"best ten for queries of {others.modality}, but finds {at_1:.3f} and {at_10:.3f} with {num_probes} of "
            f"{num_lists} cells; look into more cells, lower the target or search exactly; nothing is published"
        )
    file = _write(store, index)
    p50, p99 = _time(lambda query: _search(index, query, _TOP, num_probes), others.measuring)
    info = replace(
        info, kind=kind, recall_at_1=at_1, recall_at_10=at_10, num_queries=len(others.measuring), num_lists=num_lists,
        num_probes=num_probes, p50_ms=p50, p99_ms=p99, build_sec=build_sec, bytes_per_vector=file.bytes / exact.rows,
        library=f"faiss {import_faiss().__version__}",
    )  # fmt: skip
    return IndexEntry(fragments=fragments, file=file, config=signature(config), info=info)


@dataclass(frozen=True, kw_only=True)
class _Others:
    """Vectors (n, D) of the other modality, no row in two of them."""

    modality: Modality
    choosing: Floats  # queries that choose num_probes
    measuring: Floats  # queries that recall is reported with
    training: Floats  # helps to place the cells

    @classmethod
    def of(cls, store: Store, modality: Modality, config: IndexConfig) -> "_Others":
        other = next(name for name in MODALITIES if name != modality)
        count = store.sets().get((config.tap, other), 0)
        order = np.random.default_rng(derive_seed(config.seed, "index", config.tap, other)).permutation(count)
        num = min(config.num_queries, (count + 1) // 3)
        parts = store.parts(config.tap, other) if count else [np.empty((0, store.version.dim), np.float32)]
        return cls(
            modality=other,
            measuring=_take(parts, order[:num]),
            choosing=_take(parts, order[num : 2 * num]),
            training=_take(parts, order[2 * num :][: _training_half(store.sets()[config.tap, modality], config)]),
        )


def _measure_exact(
    exact: Exact, parts: Sequence[npt.NDArray[Any]], modality: Modality, others: _Others, config: IndexConfig
) -> IndexInfo:
    """What exact search costs over these rows; it finds all by definition."""
    queries = others.measuring if len(others.measuring) else np.asarray(parts[0][:_TIMED], dtype=np.float32)
    p50, p99 = _time(lambda query: exact.search(query, _TOP), queries)
    return IndexInfo(
        kind="exact", tap=config.tap, modality=modality, query_modality=others.modality, rows=exact.rows, dim=exact.dim,
        target_recall=config.target_recall, recall_at_1=1.0, recall_at_10=1.0, num_queries=0, num_lists=0, num_probes=0,
        p50_ms=p50, p99_ms=p99, exact_p50_ms=p50, build_sec=0.0,
        bytes_per_vector=float(parts[0].itemsize * exact.dim), library=f"torch {torch.__version__}",
    )  # fmt: skip


def _fill(parts: Sequence[npt.NDArray[Any]], kind: IndexKind, others: Floats, config: IndexConfig) -> tuple[Any, int]:
    """A FAISS index that holds the rows in order, and its number of cells."""
    faiss = import_faiss()
    rows, dim = sum(map(len, parts)), parts[0].shape[1]
    num_lists = 0
    if kind == "flat":
        index = faiss.IndexFlatIP(dim)
    else:
        chance = np.random.default_rng(derive_seed(config.seed, "index", "train"))
        mine = _take(parts, chance.permutation(rows)[: _training_half(rows, config)])
        training = np.concatenate([mine, others[: len(mine)]])
        num_lists = max(1, min(_wanted_lists(rows, config), len(training) // _MIN_TRAIN_PER_LIST))
        index = faiss.index_factory(dim, f"IVF{num_lists},Flat", faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.spherical = config.seed + 1, True
        index.cp.niter, index.cp.max_points_per_centroid = _KMEANS_ROUNDS, len(training)
        index.train(training)
    for part in parts:
        for start in range(0, len(part), _ROWS_ADDED):
            index.add(np.ascontiguousarray(part[start : start + _ROWS_ADDED], dtype=np.float32))
    return index, num_lists


def _wanted_lists(rows: int, config: IndexConfig) -> int:
    return min(config.num_lists or int(4 * rows**0.5), _MAX_LISTS)


def _training_half(rows: int, config: IndexConfig) -> int:
    """Training vectors of each modality."""
    return _wanted_lists(rows, config) * config.train_per_list // 2


def _choose_probes(index: Any, num_lists: int, exact: Exact, queries: Floats, target: float) -> int:
    """The fewest cells, in steps of about a third, that reach the target with two standard errors to spare, or half."""
    target += 2 * (target * (1 - target) / len(queries)) ** 0.5
    steps = sorted({base << power for base in (2, 3) for power in range(30)} | {1})
    tried = [step for step in steps if step < num_lists / 2] + [max(1, num_lists // 2)]
    return next((step for step in tried if min(_recall(index, exact, queries, step)) >= min(target, 1.0)), tried[-1])


def _recall(index: Any, exact: Exact, queries: Floats, num_probes: int) -> tuple[float, float]:
    """Of the best one and the best ten of exact search, the share that the index finds.

    By score and not by row: among rows that tie with the last of the ten, as texts that occur often do, any is right.
    """
    best, _ = exact.search(queries, _TOP)
    scores, rows = _search(index, queries, best.shape[1], num_probes)
    norms = np.linalg.norm(queries, axis=1, keepdims=True)
    rounding = 8 * exact.dim * 2.0**-24 * exact.max_norm * norms  # of both fp32 sums
    hit = [(scores[:, :k] >= best[:, k - 1 : k] - rounding) & (rows[:, :k] >= 0) for k in (1, best.shape[1])]
    return float(hit[0].mean()), float(hit[1].mean())


def _search(index: Any, queries: npt.NDArray[Any], k: int, num_probes: int) -> Found:
    settings = import_faiss().SearchParametersIVF(nprobe=num_probes) if num_probes else None
    scores, rows = index.search(np.ascontiguousarray(queries, dtype=np.float32), k, params=settings)
    return scores, rows


def _write(store: Store, index: Any) -> StoredFile:
    faiss = import_faiss()
    path = store.folder / "indexes" / uuid.uuid4().hex[:16] / "index.faiss"
    with files.write_whole(path) as file:
        faiss.write_index(index, faiss.PyCallbackIOWriter(file.write))
    files.sync_folder(path.parent.parent)
    files.sync_folder(store.folder)
    return versions.describe(store.folder, path)


def _time(search: Callable[[Floats], Any], queries: Floats) -> tuple[float, float]:
    """Median and 99th percentile of a search with one query, in milliseconds; the first few warm up."""
    times = []
    for turn in range(_TIMED + 3):
        query = queries[turn % len(queries)][None]
        started = time.perf_counter()
        search(query)
        times.append((time.perf_counter() - started) * 1e3)
    return float(np.median(times[3:])), float(np.quantile(times[3:], 0.99))


def _take(parts: Sequence[npt.NDArray[Any]], rows: npt.NDArray[np.integer]) -> Floats:
    """Rows by number through the parts, in their order in the files, as fp32 (n, D)."""
    starts = np.cumsum([0, *map(len, parts)])
    rows = np.sort(rows)
    cuts = np.searchsorted(rows, starts)
    inside = [rows[low:high] - start for low, high, start in zip(cuts[:-1], cuts[1:], starts[:-1], strict=True)]
    return np.concatenate([part[mine] for part, mine in zip(parts, inside, strict=True)]).astype(np.float32)
