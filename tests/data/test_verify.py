"""Verify: a healthy folder has no problems; each sabotage is named, with the sample where it can be told."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from antiphon.data.ingest import IngestConfig, ingest
from antiphon.data.manifest import read_manifest, read_rows
from antiphon.data.shards import read_sample, write_shard
from antiphon.data.verify import verify
from antiphon.files import read_json, sha256, write_json


@pytest.fixture
def folder(tones: Callable[..., Path], tmp_path: Path) -> Path:
    """A finished ingest of six tones in two shards."""
    config = IngestConfig(corpus="tones", samples_per_shard=3, phonemes=False)
    ingest("folder", {"path": tones(6), "pattern": r"(?P<text>[a-z]+)_.*"}, tmp_path / "out", config, progress=False)
    assert verify(tmp_path / "out", deep=True) == []
    return tmp_path / "out"


def first(folder: Path) -> tuple[dict, Path]:
    row = read_rows(folder).to_pylist()[0]
    return row, folder / row["shard"]


def flip(path: Path, position: int) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(bytes(data))


def sign_again(folder: Path) -> None:
    """Make manifest.json agree with files that were changed on purpose."""
    manifest = read_json(folder / "manifest.json")
    manifest["manifest_sha256"] = sha256(folder / "manifest.parquet")
    for shard in manifest["shards"]:
        shard["sha256"], shard["bytes"] = sha256(folder / shard["path"]), (folder / shard["path"]).stat().st_size
    write_json(folder / "manifest.json", manifest)


def test_a_flipped_byte_names_the_shard_and_the_sample(folder: Path) -> None:
    row, path = first(folder)
    flip(path, row["offset"] + 1_000)
    problems = verify(folder)
    assert len(problems) == 2
    assert f"shard {path} must have SHA-256" in problems[0]
    assert f"sample {row['key']} of {path}" in problems[1]


def test_a_flipped_byte_of_a_shard_signed_again_is_found_in_the_depth(folder: Path) -> None:
    row, path = first(folder)
    flip(path, row["offset"] + 1_000)
    sign_again(folder)
    assert verify(folder) == []
    assert [row["key"] in problem for problem in verify(folder, deep=True)] == [True]


def test_audio_that_does_not_decode_is_found_even_when_every_hash_agrees(folder: Path) -> None:
    row, path = first(folder)
    rows = read_rows(folder).to_pylist()
    mine = [r for r in rows if r["shard"] == row["shard"]]
    samples = [read_sample(path, r["offset"], r["bytes"]) for r in mine]
    damaged = bytearray(samples[0][1] or b"")
    damaged[len(damaged) // 2] ^= 8
    written = write_shard(path, [(samples[0][0], bytes(damaged)), *samples[1:]])
    for r, span in zip(mine, written.spans, strict=True):
        r.update(offset=span.offset, bytes=span.bytes, crc32=span.crc32)
    schema = read_rows(folder).schema
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), folder / "manifest.parquet")
    sign_again(folder)
    assert verify(folder) == []
    problems = verify(folder, deep=True)
    assert len(problems) == 1
    assert f"sample {row['key']} of {path}" in problems[0]
    assert "must decode, but does not" in problems[0]


def test_lost_cut_and_foreign_files_are_named(folder: Path) -> None:
    _, path = first(folder)
    whole = path.read_bytes()
    path.write_bytes(whole[:-512])
    assert any(f"{path} must have {len(whole):,} bytes, but has" in problem for problem in verify(folder))
    path.unlink()
    assert [problem for problem in verify(folder) if "is gone" in problem and str(path) in problem]
    (folder / "rejects.parquet").unlink()
    assert "rejects.parquet must be there, but is gone" in verify(folder)[0]
    flip(folder / "manifest.parquet", 50)
    assert "manifest.parquet must have SHA-256" in verify(folder)[0]
    (folder / "manifest.json").unlink()
    with pytest.raises(
        ValueError, match=r"must hold a finished ingest, but has no manifest\.json; run `antiphon ingest`"
    ):
        verify(folder)


def test_rows_that_disagree_with_the_shards_are_found(folder: Path) -> None:
    table = read_rows(folder)
    rows = table.to_pylist()
    pq.write_table(pa.Table.from_pylist(rows[1:], schema=table.schema), folder / "manifest.parquet")
    sign_again(folder)
    assert any("must cover its 3 samples" in problem for problem in verify(folder))
    rows[0]["text"] = "another"
    pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), folder / "manifest.parquet")
    sign_again(folder)
    assert verify(folder) == []
    assert ["differs in text" in problem for problem in verify(folder, deep=True)] == [True]


def test_a_manifest_of_another_version_says_what_to_do(folder: Path) -> None:
    manifest = read_json(folder / "manifest.json")
    write_json(folder / "manifest.json", {**manifest, "version": 99})
    with pytest.raises(ValueError, match=r"manifest\.json must have version 1, but has 99; ingest the corpus again"):
        read_manifest(folder)


def test_deleting_what_verify_names_and_running_again_repairs_it(
    folder: Path, tones: Callable[..., Path], tmp_path: Path
) -> None:
    _, path = first(folder)
    flip(path, 700)
    path.unlink()
    config = IngestConfig(corpus="tones", samples_per_shard=3, phonemes=False)
    ingest("folder", {"path": tmp_path / "tones", "pattern": r"(?P<text>[a-z]+)_.*"}, folder, config, progress=False)
    assert verify(folder, deep=True) == []
