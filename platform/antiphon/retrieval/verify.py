"""Is a store what was written? A sentence for each thing that is not, also where the store does not open any more."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from antiphon.retrieval import versions
from antiphon.retrieval.versions import Fragment, Version

_ROWS = 65_536  # at a time: bounds the memory of a deep check


def verify(folder: Path, deep: bool = False) -> list[str]:
    """A sentence for each fault of the store in `folder`, none when all is well. Each names its file.

    Without deep: every version file has its hash, every file that the newest readable one lists is there in full.
    With deep these are read: each has its hash, vectors are finite and of the listed shape, ids are unique.
    """
    problems, newest = [], None
    for path in versions.list_versions(folder):
        try:
            newest = versions.read_version(path)
        except ValueError as error:
            problems.append(str(error))
    if newest is None:
        return [*problems, f"{folder} must hold a version file that is whole, but holds none"]
    missing = versions.missing_files(folder, newest)
    return problems + missing + (_read_all(folder, newest) if deep and not missing else [])


def _read_all(folder: Path, version: Version) -> list[str]:
    damaged = [problem for file in versions.listed_files(version) if (problem := versions.damage(folder, file))]
    if damaged:
        return damaged
    wrong = [problem for fragment in version.fragments if (problem := _wrong(folder, fragment, version))]
    return wrong + _repeated_ids(folder, version)


def _wrong(folder: Path, fragment: Fragment, version: Version) -> str | None:
    """What a whole fragment holds against what the version says: a fault of its writer, not of the disk."""
    path = folder / fragment.vectors.path
    vectors = np.load(path, mmap_mode="r", allow_pickle=False)
    want, found = ((fragment.rows, version.dim), version.dtype), (vectors.shape, str(vectors.dtype))
    if found != want:
        return f"{path} must hold {want}, but holds {found}"
    for start in range(0, fragment.rows, _ROWS):
        norms = np.linalg.norm(vectors[start : start + _ROWS].astype(np.float64), axis=1)
        bad = np.flatnonzero(~np.isfinite(norms) | (norms == 0) | (norms > fragment.max_norm * (1 + 1e-9)))
        if len(bad):
            found_norm = f"row {start + bad[0]} has norm {norms[bad[0]]}"
            return f"{path} must hold finite vectors of norms up to {fragment.max_norm}, none zero, but {found_norm}"
    rows = pq.read_metadata(folder / fragment.meta.path).num_rows
    return None if rows == fragment.rows else f"{fragment.meta.path} must have {fragment.rows} rows, but has {rows}"


def _repeated_ids(folder: Path, version: Version) -> list[str]:
    ids: dict[str, list[str]] = {}
    for fragment in version.fragments:
        column = pq.read_table(folder / fragment.meta.path, columns=["id"]).column("id")
        ids.setdefault(fragment.tap, []).extend(column.to_pylist())
    return [
        f"each id of tap {tap} must have one row in {folder}, but {len(set(found))} ids have {len(found)} rows"
        for tap, found in sorted(ids.items())
        if len(set(found)) != len(found)
    ]
