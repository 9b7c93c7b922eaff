"""What a version of a store lists, and how one is read, chosen and committed.

`versions/00000007.json` is whole from the moment that it has its name: written aside, synced, then linked to a name
that no file may have yet. Of two committers that build on version 6 one gets the name, the other a `Conflict` and tries
again. Each file carries the hash of its own content: a flipped byte in a count is found as well as one in a vector.
"""

import json
import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Literal

from antiphon import files
from antiphon.config import from_dict, to_dict

FORMAT = 1

Modality = Literal["speech", "text"]
MODALITIES: tuple[Modality, ...] = ("speech", "text")
DType = Literal["float16", "float32"]
IndexKind = Literal["exact", "flat", "ivf_flat"]


class UnknownFormat(ValueError):
    """A whole version file of another release."""


class Conflict(Exception):
    """Another writer committed first."""


@dataclass(frozen=True, kw_only=True)
class Encoder:
    """Which encoder made the vectors: two stores with different fingerprints hold points of different spaces."""

    checkpoint: str  # fingerprint of the checkpoint
    pooling: str = "mean"
    path: str = (
        ""  # where the checkpoint lay when the store was made, relative to the store; no part of the fingerprint
    )

    @property
    def fingerprint(self) -> tuple[str, str]:
        return self.checkpoint, self.pooling


@dataclass(frozen=True, kw_only=True)
class StoredFile:
    """One file of a store, its path relative to the store's folder."""

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class Fragment:
    """Rows that were written together and never change: vectors (rows, dim) and the metadata in the same row order."""

    id: str
    tap: str
    modality: Modality
    rows: int
    max_norm: float  # of the stored vectors: bounds the rounding error of a quick scan (exact.py)
    vectors: StoredFile
    meta: StoredFile


@dataclass(frozen=True, kw_only=True)
class IndexInfo:
    """What an index reached, with held-out queries of the other modality, against exact search over the same rows."""

    kind: IndexKind
    tap: str
    modality: Modality  # of the rows that it holds
    query_modality: Modality
    rows: int
    dim: int
    target_recall: float
    recall_at_1: float
    recall_at_10: float
    num_queries: int  # that recall was measured with; another set chose num_probes
    num_lists: int  # 0 where the index has none
    num_probes: int
    p50_ms: float  # one query a call
    p99_ms: float
    exact_p50_ms: float
    build_sec: float
    bytes_per_vector: float
    library: str  # "faiss 1.8.0", or "torch 2.11.0" for exact search


@dataclass(frozen=True, kw_only=True)
class IndexEntry:
    """An index over the rows of some fragments, in their order; file is None for exact search, which needs none."""

    fragments: tuple[str, ...]
    file: StoredFile | None
    config: str  # signature of the IndexConfig: the same rows are not indexed twice alike
    info: IndexInfo


@dataclass(frozen=True, kw_only=True)
class Version:
    """One state of a store: everything that a reader may look at."""

    format: int = FORMAT
    version: int
    parent: int | None
    created: str  # UTC, ISO 8601
    code_version: str
    dim: int
    dtype: DType
    encoder: Encoder
    rows: int
    fragments: tuple[Fragment, ...]
    indexes: tuple[IndexEntry, ...]
    inputs: dict[str, str] = field(default_factory=dict)  # corpus -> hash of its shard manifest
    sha256: str = ""  # of this file's content without this field

    def of(self, tap: str, modality: Modality) -> tuple[Fragment, ...]:
        """The fragments of one set, in row order."""
        return tuple(f for f in self.fragments if f.tap == tap and f.modality == modality)

    def index_of(self, tap: str, modality: Modality) -> IndexEntry | None:
        """The index that covers exactly the rows of a set as it is now."""
        fragments = tuple(f.id for f in self.of(tap, modality))
        mine = [entry for entry in self.indexes if (entry.info.tap, entry.info.modality) == (tap, modality)]
        return next((entry for entry in mine if entry.fragments == fragments), None)


@dataclass(frozen=True, kw_only=True)
class Found:
    """The newest whole version, the number after all that the listing saw, a sentence for each newer broken file."""

    version: Version
    next_number: int
    broken: tuple[str, ...]


def describe(folder: Path, path: Path) -> StoredFile:
    """Size and hash of a file that was just written."""
    return StoredFile(path=str(path.relative_to(folder)), bytes=path.stat().st_size, sha256=files.sha256(path))


def newest(folder: Path) -> Found:
    """The newest version that is whole: its own hash holds and every file that it lists is there in its full size.

    Raises ValueError when there is no store, or no whole version in it, and UnknownFormat. The next number comes from
    the listing and not from the version that was chosen: a committer that fell back must not reuse the broken file's.
    """
    paths = list_versions(folder)
    broken: list[str] = []
    for path in reversed(paths):
        try:
            version = read_version(path)
        except UnknownFormat:
            raise  # falling back would hide what a later release stored
        except ValueError as error:
            broken.append(str(error))
            continue
        if missing := missing_files(folder, version):
            broken.append(f"{path.name} lists files that are not whole: {'; '.join(missing)}")
            continue
        return Found(version=version, next_number=_number(paths[-1]) + 1, broken=tuple(broken))
    found = f"none of its {len(paths)} versions is whole: {broken[0]}" if broken else "has none"
    raise ValueError(
        f"{folder} must be an embedding store with a whole version, but {found}; make one with antiphon embed"
    )


def list_versions(folder: Path) -> list[Path]:
    """The version files, oldest first."""
    return sorted((path for path in (folder / "versions").glob("*.json") if path.stem.isdigit()), key=_number)


def read_version(path: Path) -> Version:
    """Parse and check one version file. Raises ValueError that names it."""
    data = files.read_json(path)
    if not isinstance(data, dict) or data.get("sha256") != _content_hash(data):
        raise ValueError(f"{path} must hold the content whose hash it states, but its bytes have changed")
    if data["format"] != FORMAT:
        raise UnknownFormat(
            f"{path} must have format {FORMAT}, but has {data['format']}; read the store with the release that wrote it"
        )
    return from_dict(Version, data, str(path))


def missing_files(folder: Path, version: Version) -> list[str]:
    """A sentence for each listed file that is absent or has another size. Costs one stat a file, reads nothing."""
    problems = []
    for stored in listed_files(version):
        path = folder / stored.path
        size = path.stat().st_size if path.is_file() else None
        if size != stored.bytes:
            found = "is missing" if size is None else f"has {size} bytes"
            problems.append(f"{stored.path} must have {stored.bytes} bytes, but {found}")
    return problems


def listed_files(version: Version) -> list[StoredFile]:
    """Every file that a version stands on."""
    parts = [file for fragment in version.fragments for file in (fragment.vectors, fragment.meta)]
    return parts + [entry.file for entry in version.indexes if entry.file is not None]


def commit(folder: Path, version: Version) -> Version:
    """Write the version under its number, for good. Raises Conflict when that number is taken. Needs hard links."""
    version = replace(version, sha256=_content_hash(to_dict(version)))
    path = folder / "versions" / f"{version.version:08d}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(aside, "wb") as file:
            file.write((json.dumps(to_dict(version), indent=1, ensure_ascii=False) + "\n").encode())
            file.flush()
            os.fsync(file.fileno())
        # A rename would replace the file of the committer that was first; a link refuses.
        os.link(aside, path)
        files.sync_folder(path.parent)
        files.sync_folder(folder)
    except FileExistsError as error:
        raise Conflict(f"version {version.version} of {folder} is taken") from error
    finally:
        aside.unlink(missing_ok=True)
    return version


def damage(folder: Path, stored: StoredFile) -> str | None:
    """A sentence when a listed file is not what was written, found by reading all of it."""
    path = folder / stored.path
    if not path.is_file():
        return f"{path} must exist, but is missing"
    if path.stat().st_size != stored.bytes or files.sha256(path) != stored.sha256:
        return f"{path} must have the hash that the version lists, but its bytes have changed"
    return None


def _content_hash(data: Mapping[str, object]) -> str:
    content = {name: value for name, value in data.items() if name != "sha256"}
    return sha256(json.dumps(content, sort_keys=True, ensure_ascii=False).encode()).hexdigest()


def _number(path: Path) -> int:
    return int(path.stem)
