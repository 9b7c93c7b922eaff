"""Is a folder of shards still what ingest wrote? Hashes of every file; `deep` also decodes every recording.

A difference is a sentence that names the shard and, where it can be told, the sample.
"""

import os
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from antiphon.audio.recording import AudioError
from antiphon.audio.waveform import decode_flac
from antiphon.data.manifest import Manifest, ShardEntry, read_manifest
from antiphon.data.shards import parse_sample
from antiphon.data.utterance import MANIFEST_SCHEMA
from antiphon.files import sha256

_REPAIR = "delete it and run the ingest again"


def verify(folder: Path, *, deep: bool = False) -> list[str]:
    """Problems of a finished ingest, [] for none: files gone or of another hash, rows that their tars do not hold.

    deep reads every sample, compares it with its row and decodes its audio. Raises ValueError where no ingest is
    finished.
    """
    manifest = read_manifest(folder)
    problems = []
    hashes = {"manifest.parquet": manifest.manifest_sha256, "rejects.parquet": manifest.rejects_sha256}
    for name, expected in hashes.items():
        path = folder / name
        if not path.exists():
            problems.append(f"{path} must be there, but is gone; run the ingest again")
        elif (found := sha256(path)) != expected:
            problems.append(f"{path} must have SHA-256 {expected[:12]}..., but has {found[:12]}...; {_REPAIR}")
    if problems:
        return problems  # the rows cannot be trusted
    entries = {entry.path: entry for entry in manifest.shards if entry.samples}
    for shard, rows in groupby(_rows(folder), key=lambda row: row["shard"]):
        entry = entries.pop(shard, None)
        if entry is None:
            problems.append(f"the rows of {folder} name {shard}, but manifest.json does not; run the ingest again")
            continue
        problems += _check_shard(folder, manifest, entry, list(rows), deep)
    problems += [f"manifest.json of {folder} lists {path}, but no row does; run the ingest again" for path in entries]
    return problems


def _rows(folder: Path) -> Iterator[dict[str, Any]]:
    with pq.ParquetFile(folder / "manifest.parquet") as file:
        if not file.schema_arrow.equals(MANIFEST_SCHEMA):
            raise ValueError(
                f"{folder}/manifest.parquet must have this version's columns, but has others; ingest again"
            )
        for batch in file.iter_batches(4096):
            yield from batch.to_pylist()


def _check_shard(
    folder: Path, manifest: Manifest, entry: ShardEntry, rows: list[dict[str, Any]], deep: bool
) -> list[str]:
    path = folder / entry.path
    if not path.exists():
        return [f"shard {path} must be there, but is gone; run the ingest again"]
    problems = []
    if (size := path.stat().st_size) != entry.bytes:
        problems.append(f"shard {path} must have {entry.bytes:,} bytes, but has {size:,}; {_REPAIR}")
    if (found := sha256(path)) != entry.sha256:
        problems.append(f"shard {path} must have SHA-256 {entry.sha256[:12]}..., but has {found[:12]}...; {_REPAIR}")
    edges = [row["offset"] for row in rows] + [rows[-1]["offset"] + rows[-1]["bytes"]]
    if (
        len(rows) != entry.samples
        or edges[0] != 0
        or any(row["offset"] + row["bytes"] != end for row, end in zip(rows, edges[1:], strict=True))
    ):
        problems.append(
            f"the rows of {path} must cover its {entry.samples:,} samples one after another, but do not; ingest again"
        )
    if problems or deep:  # a bad shard is read to name the bad samples
        with open(path, "rb") as file:
            for row in rows:
                data = os.pread(file.fileno(), row["bytes"], row["offset"])
                problems += _check_sample(data, row, path, manifest.audio.sample_rate, deep)
    return problems


def _check_sample(data: bytes, row: dict[str, Any], path: Path, sample_rate: int, deep: bool) -> list[str]:
    where = f"{path} at {row['offset']:,}"
    try:
        sample, flac = parse_sample(data, row["bytes"], where, key=row["key"], crc32=row["crc32"])
        if not deep:
            return []
        wave = decode_flac(flac) if flac is not None else None
    except AudioError as error:
        return [f"sample {row['key']} of {where} must decode, but does not ({error}); {_REPAIR}"]
    except ValueError as error:
        return [str(error)]
    problems = []
    if wave is not None and (wave.sample_rate != sample_rate or abs(wave.seconds - row["seconds"]) > 1e-3):
        found = f"{wave.seconds:.3f} s at {wave.sample_rate:,} Hz"
        problems.append(
            f"{row['key']} of {where} must last {row['seconds']:.3f} s at {sample_rate:,} Hz, but has {found}"
        )
    fields = ("text", "speaker", "language", "domain", "source")
    differing = [name for name in fields if getattr(sample, name) != row[name]]
    if differing:
        problems.append(
            f"{row['key']} of {where} must be as in its row, but differs in {', '.join(differing)}; {_REPAIR}"
        )
    return problems
