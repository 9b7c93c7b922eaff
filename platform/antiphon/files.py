"""Files appear whole: written beside their name, synced, renamed, folder synced. Present means finished.

A stage writes its files in any order and its manifest last; a reader that sees the manifest may trust the rest.
"""

import contextlib
import hashlib
import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

_CHUNK_BYTES = 1 << 20


@contextlib.contextmanager
def write_whole(path: Path) -> Iterator[BinaryIO]:
    """Yield a binary file whose bytes appear under `path` only when the block ends without an error.

    A kill at any moment leaves the old file or the new one, and at worst a `.tmp` file that `remove_leftovers` clears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # A name of its own for each writer: two processes that build the same shard must not share one temporary file.
    aside = path.with_name(f".{path.name}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        with open(aside, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(aside, path)
        sync_folder(path.parent)
    finally:
        aside.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write data whole (see `write_whole`)."""
    with write_whole(path) as file:
        file.write(data)


def write_json(path: Path, value: Any) -> None:
    """Write JSON whole, keys in the order given, with a line end."""
    write_bytes(path, (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """Read JSON. Raises ValueError, naming the file, when it is not JSON."""
    try:
        return json.loads(path.read_bytes())
    except ValueError as error:
        advice = "delete it and run the stage that wrote it again"
        raise ValueError(f"{path} must be JSON, but does not parse ({error}); {advice}") from error


def sync_folder(folder: Path) -> None:
    """Make renames inside the folder survive a power cut."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes, read in chunks."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def hash_text(*parts: str, length: int = 16) -> str:
    """A short hex name for a list of strings; different lists give different names."""
    digest = hashlib.blake2b(digest_size=32)
    for part in parts:
        data = part.encode()
        digest.update(len(data).to_bytes(8, "big"))
        digest.update(data)
    return digest.hexdigest()[:length]


def remove_leftovers(folder: Path) -> int:
    """Delete what killed writers left in a folder; returns how many files. Call only while nobody writes there."""
    leftovers = list(folder.rglob(".*.tmp"))
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)
