"""The embedding store: immutable fragments of vectors and metadata, listed in versions that appear whole (versions.py).

    STORE/fragments/<id>/vectors.npy   (rows, dim) fp16 or fp32, C order, mapped into memory when read
                         meta.parquet  META_SCHEMA, the same rows in the same order
          indexes/<id>/index.faiss     where one was built (index.py)
          versions/<n>.json            what is in the store since commit n

A set is the rows of one tap and one modality; a fragment holds rows of one set, so that a set is read without picking.
Row numbers count through the set's fragments in the order of the version. An id is unique in its tap. Writers need no
lock: each fragment has a name of its own, and of two commits at once the loser adds its rows to the winner's version.
"""

import functools
import importlib.metadata
import logging
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from antiphon import files
from antiphon.retrieval import versions
from antiphon.retrieval.bad_vectors import AddReport, Judged, OnBadVectors, judge
from antiphon.retrieval.metadata import META_SCHEMA, conform
from antiphon.retrieval.versions import (
    MODALITIES,
    Conflict,
    DType,
    Encoder,
    Fragment,
    IndexEntry,
    Modality,
    StoredFile,
    Version,
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Staged:
    """Fragments that are written but listed nowhere yet, and the (tap, id) of their rows."""

    fragments: tuple[Fragment, ...]
    names: tuple[tuple[str, str], ...]
    report: AddReport


class _Taken(Exception):
    """An id of a staged fragment is in the store by now."""


class Store:
    """An embedding store as of one version; `refresh` moves to the newest. The module's header has the layout."""

    def __init__(self, folder: Path) -> None:
        """Open the newest whole version. Raises ValueError without one; warns when a newer one is broken."""
        self.folder = folder
        self._ids: dict[str, tuple[set[str], set[str]]] = {}  # tap -> (ids, fragments that they came from)
        self._intact: set[str] = set()  # files whose hash was seen to hold
        self.refresh()

    @classmethod
    def create(cls, folder: Path, *, dim: int, encoder: Encoder, dtype: DType = "float16") -> "Store":
        """A new, empty store. Raises ValueError when there is one already."""
        if dim < 1:
            raise ValueError(f"dim must be at least 1, but is {dim} for {folder}; give the model's embedding size")
        empty = Version(
            version=1, parent=None, created=_now(), code_version=_code_version(),
            dim=dim, dtype=dtype, encoder=encoder, rows=0, fragments=(), indexes=(),
        )  # fmt: skip
        try:
            if versions.list_versions(folder):
                raise Conflict
            versions.commit(folder, empty)
        except Conflict as error:
            raise ValueError(f"{folder} must hold no store yet, but does; open it or choose another folder") from error
        return cls(folder)

    def refresh(self) -> Version:
        """Look for the newest whole version, and say so when it is not the newest file."""
        found = versions.newest(self.folder)
        self.version, self.broken, self._next_number = found.version, found.broken, found.next_number
        for problem in found.broken:
            _log.warning("the store falls back to version %d: %s", found.version.version, problem)
        return self.version

    # -------------------------------------------------------------------------------------------------------- writing

    def add(
        self,
        vectors: npt.NDArray[Any],
        metadata: pa.Table,
        *,
        encoder: Encoder,
        on_bad_vectors: OnBadVectors = "error",
        inputs: Mapping[str, str] | None = None,
    ) -> AddReport:
        """Store vectors (N, dim) fp16 or fp32 and N rows of metadata (META_SCHEMA; id, tap, modality needed), durably.

        "error" refuses everything when one row is bad (ValueError that names row, id and reason), "drop" leaves bad
        rows out and reports them. All rows appear in one version. When this returns, they survive a power cut; before,
        nobody sees any. inputs: hash of the shard manifest that each corpus was read from.
        """
        while True:
            staged = self.stage(vectors, metadata, encoder=encoder, on_bad_vectors=on_bad_vectors)
            try:
                self._commit(functools.partial(self._with_rows, staged=[staged], inputs=inputs or {}))
            except _Taken:
                continue  # another writer stored some of these ids meanwhile: judge the rows again
            return staged.report

    def stage(
        self,
        vectors: npt.NDArray[Any],
        metadata: pa.Table,
        *,
        encoder: Encoder,
        on_bad_vectors: OnBadVectors = "error",
    ) -> Staged:
        """Check rows and write their fragments, unlisted: parallel writers do so, then one of them calls `commit`."""
        table = conform(metadata)
        if vectors.ndim != 2 or len(vectors) != len(table):
            raise ValueError(
                f"vectors must have the shape (rows, dim) with a row of metadata each, but have {vectors.shape} "
                f"beside {len(table)} rows; pass both from the same batch"
            )
        taps = table.column("tap").to_pylist()
        names = list(zip(taps, table.column("id").to_pylist(), strict=True))
        judged = judge(vectors, names, {tap: self.ids(tap) for tap in set(taps)}, self.version, encoder)
        report = judged.report(on_bad_vectors)
        kept = table.filter(pa.array(judged.good))
        fragments = tuple(
            self._write(judged, kept, tap, modality) for tap in sorted(set(taps)) for modality in MODALITIES
        )
        return Staged(
            fragments=tuple(fragment for fragment in fragments if fragment is not None),
            names=tuple(name for name, good in zip(names, judged.good, strict=True) if good),
            report=report,
        )

    def commit(self, staged: Sequence[Staged], *, inputs: Mapping[str, str] | None = None) -> Version:
        """List staged fragments in one new version. Raises ValueError when an id is stored already or twice in them."""
        try:
            return self._commit(functools.partial(self._with_rows, staged=staged, inputs=inputs or {}))
        except _Taken as error:
            raise ValueError(f"{error}; leave out rows that are stored") from error

    def publish(self, entries: Sequence[IndexEntry]) -> Version:
        """List indexes in a new version, each in the place of an older one over the same set."""
        mine = {(entry.info.tap, entry.info.modality) for entry in entries}

        def change(version: Version) -> Version:
            others = tuple(old for old in version.indexes if (old.info.tap, old.info.modality) not in mine)
            return replace(version, indexes=(*others, *entries))

        return self._commit(change)

    def _commit(self, change: Callable[[Version], Version]) -> Version:
        """Apply a change to the newest version and write the outcome; when another writer is first, to theirs."""
        while True:
            base = self.version
            changed = change(base)
            if changed == base:
                return base
            new = replace(
                changed, version=self._next_number, parent=base.version, created=_now(), code_version=_code_version(),
                rows=sum(fragment.rows for fragment in changed.fragments),
            )  # fmt: skip
            try:
                self.version = versions.commit(self.folder, new)
            except Conflict:
                self.refresh()
                continue
            self._next_number += 1
            return self.version

    def _with_rows(self, version: Version, *, staged: Sequence[Staged], inputs: Mapping[str, str]) -> Version:
        new: set[tuple[str, str]] = set()
        for item in staged:
            for tap, row_id in item.names:
                if row_id in self.ids(tap) or (tap, row_id) in new:
                    raise _Taken(
                        f"an id must be new in its tap, but {row_id!r} is in tap {tap} of {self.folder} already"
                    )
                new.add((tap, row_id))
        fragments = tuple(fragment for item in staged for fragment in item.fragments)
        if not fragments:
            return version
        return replace(version, fragments=version.fragments + fragments, inputs={**version.inputs, **inputs})

    def _write(self, judged: Judged, kept: pa.Table, tap: str, modality: Modality) -> Fragment | None:
        """A fragment with the rows of one set, None where there are none."""
        mine = pc.and_(pc.equal(kept.column("tap"), tap), pc.equal(kept.column("modality"), modality))
        rows = np.flatnonzero(mine.to_numpy())
        if len(rows) == 0:
            return None
        name = uuid.uuid4().hex[:16]
        folder = self.folder / "fragments" / name
        with files.write_whole(folder / "vectors.npy") as file:
            np.save(file, np.ascontiguousarray(judged.vectors[rows]), allow_pickle=False)
        with files.write_whole(folder / "meta.parquet") as file:
            pq.write_table(kept.filter(mine), file, compression="zstd")
        files.sync_folder(folder.parent)
        files.sync_folder(self.folder)
        return Fragment(
            id=name, tap=tap, modality=modality, rows=len(rows), max_norm=float(judged.norms[rows].max()),
            vectors=versions.describe(self.folder, folder / "vectors.npy"),
            meta=versions.describe(self.folder, folder / "meta.parquet"),
        )  # fmt: skip

    # -------------------------------------------------------------------------------------------------------- reading

    def sets(self) -> dict[tuple[str, Modality], int]:
        """(tap, modality) -> rows."""
        counts: dict[tuple[str, Modality], int] = {}
        for fragment in self.version.fragments:
            key = (fragment.tap, fragment.modality)
            counts[key] = counts.get(key, 0) + fragment.rows
        return counts

    def parts(self, tap: str, modality: Modality) -> list[npt.NDArray[Any]]:
        """The vectors of a set, an array (rows, dim) a fragment, mapped and not copied. Hashes are checked once."""
        paths = [self.path(fragment.vectors) for fragment in self._of(tap, modality)]
        return [np.load(path, mmap_mode="r", allow_pickle=False) for path in paths]

    def table(self, tap: str, modality: Modality) -> pa.Table:
        """The metadata of a set, in row order."""
        paths = [self.path(fragment.meta) for fragment in self._of(tap, modality)]
        return pa.concat_tables(pq.read_table(path, schema=META_SCHEMA, memory_map=True) for path in paths)

    def read(self, tap: str, modality: Modality) -> tuple[npt.NDArray[Any], pa.Table]:
        """vectors (N, dim) and their metadata; mapped where the set is one fragment, else copied together."""
        parts = self.parts(tap, modality)
        return parts[0] if len(parts) == 1 else np.concatenate(parts), self.table(tap, modality)

    def max_norm(self, tap: str, modality: Modality) -> float:
        """The largest Euclidean norm in a set."""
        return max(fragment.max_norm for fragment in self._of(tap, modality))

    def ids(self, tap: str) -> set[str]:
        """All ids of a tap. Kept between calls; only new fragments are read. Do not change it."""
        fragments = {fragment.id: fragment for fragment in self.version.fragments if fragment.tap == tap}
        ids, known = self._ids.get(tap, (set(), set()))
        if not known <= fragments.keys():
            ids, known = set(), set()
        for name in fragments.keys() - known:
            table = pq.read_table(self.path(fragments[name].meta), columns=["id"])
            ids.update(table.column("id").to_pylist())
        self._ids[tap] = ids, set(fragments)
        return ids

    def path(self, stored: StoredFile) -> Path:
        """Where a listed file lies, its hash checked once. Raises ValueError that names it when a byte has changed."""
        path = self.folder / stored.path
        if stored.path not in self._intact:
            if problem := versions.damage(self.folder, stored):
                raise ValueError(f"{problem}; restore the file or embed into a new store")
            self._intact.add(stored.path)
        return path

    def _of(self, tap: str, modality: Modality) -> tuple[Fragment, ...]:
        if found := self.version.of(tap, modality):
            return found
        held = ", ".join(f"{t}/{m} ({rows} rows)" for (t, m), rows in sorted(self.sets().items())) or "nothing"
        raise ValueError(f"{self.folder} must hold {modality} rows of tap {tap}, but holds {held}; embed them first")


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _code_version() -> str:
    return importlib.metadata.version("antiphon")
