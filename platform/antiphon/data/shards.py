"""Shards: plain WebDataset tars whose bytes depend on their samples alone, and reading one sample by (offset, bytes).

Members are sorted (`<key>.flac`, then `<key>.json`), USTAR, with fixed time, owner and mode. A sample's span covers its
members with their headers, so that one read, one CRC and no index file are enough.
"""

import hashlib
import json
import os
import re
import tarfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from antiphon.data.utterance import Sample
from antiphon.files import hash_text, write_whole

SHARD_VERSION = 1  # raised when the same samples would give other bytes
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_MAX_KEY = 80


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where one sample lies in its tar: `bytes` from `offset`, headers included, and their CRC-32."""

    offset: int
    bytes: int
    crc32: int
    audio_sha256: str | None


@dataclass(frozen=True, kw_only=True)
class WrittenShard:
    """What `write_shard` wrote: hash and size of the tar, the spans in the order of the samples."""

    sha256: str
    bytes: int
    spans: tuple[Span, ...]


def member_key(key: str) -> str:
    """A key that every tar reader accepts: letters, digits, - and _; a changed one ends in a hash of the key given.

    WebDataset takes what stands before the first dot as the key, and USTAR names hold 100 bytes.
    """
    plain = re.sub(r"[^A-Za-z0-9_-]", "_", key)
    return key if plain == key and 0 < len(key) <= _MAX_KEY else f"{plain[: _MAX_KEY - 11]}-{hash_text(key, length=10)}"


def write_shard(path: Path, samples: Iterable[tuple[Sample, bytes | None]]) -> WrittenShard:
    """Write (sample, FLAC bytes or None) in the order given, sorted by key; the tar appears whole or not at all."""
    digest, spans, offset, last = hashlib.sha256(), [], 0, ""
    with write_whole(path) as file:
        for sample, flac in samples:
            assert last < sample.key == member_key(sample.key), (
                f"keys must be sorted and plain, but {sample.key!r} follows {last!r}"
            )
            last = sample.key
            data = b"" if flac is None else _member(f"{sample.key}.flac", flac)
            data += _member(f"{sample.key}.json", sample_json(sample))
            audio_sha256 = None if flac is None else hashlib.sha256(flac).hexdigest()
            spans.append(Span(offset=offset, bytes=len(data), crc32=zlib.crc32(data), audio_sha256=audio_sha256))
            offset += len(data)
            digest.update(data)
            file.write(data)
        digest.update(_END)
        file.write(_END)
    return WrittenShard(sha256=digest.hexdigest(), bytes=offset + len(_END), spans=tuple(spans))


def read_sample(
    path: Path, offset: int, num_bytes: int, *, key: str | None = None, crc32: int | None = None
) -> tuple[Sample, bytes | None]:
    """The sample at (offset, bytes) of a tar and its FLAC bytes, None for text only.

    Give key and crc32 from the manifest to have them checked. Raises ValueError, naming shard and sample, when they
    differ or the bytes are no sample.
    """
    with open(path, "rb") as file:
        data = os.pread(file.fileno(), num_bytes, offset)
    return parse_sample(data, num_bytes, f"{path} at {offset:,}", key=key, crc32=crc32)


def parse_sample(
    data: bytes, num_bytes: int, where: str, *, key: str | None = None, crc32: int | None = None
) -> tuple[Sample, bytes | None]:
    """A span's bytes -> sample and FLAC bytes; `where` names the place in errors (see `read_sample`)."""
    name = f"sample {key} of {where}" if key else f"the sample of {where}"
    repair = "delete the shard and run the ingest again"
    if len(data) != num_bytes:
        raise ValueError(f"{name} must have {num_bytes:,} bytes, but the file ends after {len(data):,}; {repair}")
    if crc32 is not None and zlib.crc32(data) != crc32:
        raise ValueError(
            f"{name} must have CRC-32 {crc32:08x}, but has {zlib.crc32(data):08x}: its bytes changed; {repair}"
        )
    try:
        members = dict(_members(data))
        names = sorted(members)
        sample = sample_from_json(members.pop(names[-1]))
        flac = members.pop(names[0]) if len(names) > 1 else None
        expected = [f"{sample.key}.flac", f"{sample.key}.json"] if flac is not None else [f"{sample.key}.json"]
        if names != expected or members:
            raise ValueError(f"members are {', '.join(names)}")
    except (tarfile.HeaderError, ValueError, KeyError, TypeError, IndexError) as error:
        raise ValueError(
            f"{name} must be a FLAC and a JSON member of one key, but is not ({error}); {repair}"
        ) from error
    if key is not None and sample.key != key:
        raise ValueError(
            f"{name} must carry that key, but carries {sample.key}; the manifest is not of this shard, {repair}"
        )
    return sample, flac


def sample_json(sample: Sample) -> bytes:
    """The JSON member of a sample: its fields in alphabetical order."""
    values = {field.name: getattr(sample, field.name) for field in fields(sample)}
    return json.dumps(values, sort_keys=True, ensure_ascii=False, separators=(",", ":")).encode()


def sample_from_json(data: bytes) -> Sample:
    """The inverse of `sample_json`."""
    values: dict[str, Any] = json.loads(data)
    for name in ("phones", "phone_times"):
        if values[name] is not None:
            values[name] = tuple(map(tuple, values[name]))
    return Sample(**values)


def iterate(shards: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The samples of shards as the webdataset library reads them: dicts of `__key__`, `flac` and `json` (bytes).

    For tools that want a webdataset pipeline; training reads by (shard, offset, bytes) in the order of its plan.
    """
    os.environ["WDS_SECURE"] = "1"  # no pipes, no pickles in names or members
    import webdataset

    yield from webdataset.WebDataset([str(path) for path in shards], shardshuffle=False, empty_check=False)


def _member(name: str, data: bytes) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode, info.mtime = len(data), 0o444, 0
    return info.tobuf(tarfile.USTAR_FORMAT) + data + bytes(-len(data) % _BLOCK)


def _members(data: bytes) -> Iterator[tuple[str, bytes]]:
    """(name, bytes) of each member of a span. Raises tarfile.HeaderError when a header's checksum is wrong."""
    position = 0
    while position < len(data):
        info = tarfile.TarInfo.frombuf(data[position : position + _BLOCK], "utf-8", "strict")
        start = position + _BLOCK
        if start + info.size > len(data):
            raise ValueError(f"member {info.name} reaches beyond the span")
        yield info.name, data[start : start + info.size]
        position = start + info.size + -info.size % _BLOCK
