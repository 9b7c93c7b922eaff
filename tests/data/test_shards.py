"""Shards: any sample comes back, the same samples give the same bytes, damage is named, other tools read the tars."""

import json
import string
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from antiphon.audio.waveform import decode_flac, encode_flac
from antiphon.data.shards import iterate, member_key, read_sample, write_shard
from antiphon.data.utterance import Sample

FLAC = encode_flac(np.sin(np.arange(800) / 5).astype(np.float32), 16_000)


def sample(key: str, **fields: object) -> Sample:
    plain = Sample(
        key=key,
        text="one two",
        phones=(("W", "AH", "N"), ("T", "UW")),
        phone_times=None,
        seconds=0.05,
        speaker="s",
        language="en",
        domain="d",
        source=f"{key}.wav",
    )
    return replace(plain, **fields)


def three(path: Path) -> list[Sample]:
    """Write a shard of a paired, a speech-only and a text-only sample."""
    paired = sample("a", phone_times=((0.0, 0.01),) * 5)
    samples = [paired, sample("b", text=None, phones=None), sample("c", seconds=0.0, source="", text="ünïcode 中文")]
    write_shard(path, zip(samples, [FLAC, FLAC, None], strict=True))
    return samples


texts = st.one_of(st.none(), st.text(max_size=20))
phones = st.one_of(st.none(), st.lists(st.lists(st.text(max_size=3), max_size=3).map(tuple), max_size=3).map(tuple))
times = st.one_of(st.none(), st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=4).map(tuple))


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(texts, phones, times, st.sampled_from([None, FLAC])), max_size=4))
def test_any_sample_comes_back(tmp_path: Path, fields: list) -> None:
    samples = [
        (sample(f"k{row}", text=text, phones=phones, phone_times=times), flac)
        for row, (text, phones, times, flac) in enumerate(fields)
    ]
    written = write_shard(tmp_path / "x.tar", samples)
    for (expected, flac), span in zip(samples, written.spans, strict=True):
        found = read_sample(tmp_path / "x.tar", span.offset, span.bytes, key=expected.key, crc32=span.crc32)
        assert found == (expected, flac)
    assert written.bytes == (tmp_path / "x.tar").stat().st_size
    assert write_shard(tmp_path / "y.tar", samples) == written
    assert (tmp_path / "y.tar").read_bytes() == (tmp_path / "x.tar").read_bytes()


def test_members_are_plain_files_without_a_date_or_an_owner(tmp_path: Path) -> None:
    three(tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        members = tar.getmembers()
    assert [member.name for member in members] == ["a.flac", "a.json", "b.flac", "b.json", "c.json"]
    assert {(m.mtime, m.uid, m.gid, m.uname, m.gname, m.mode, m.type) for m in members} == {
        (0, 0, 0, "", "", 0o444, b"0")
    }
    assert (tmp_path / "x.tar").read_bytes()[257:265] == b"ustar\x0000"


def test_webdataset_reads_what_we_read(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    samples = three(path)
    rows = list(iterate([path, path]))
    assert [row["__key__"] for row in rows] == ["a", "b", "c", "a", "b", "c"]
    for row, expected in zip(rows, samples, strict=False):
        assert row.get("flac") == (FLAC if expected.key != "c" else None)
        assert json.loads(row["json"])["text"] == expected.text
    assert decode_flac(rows[0]["flac"]).seconds == 0.05


def test_every_flipped_byte_is_found_and_the_sample_named(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    span = write_shard(path, [(sample("seven"), FLAC)]).spans[0]
    clean = path.read_bytes()
    for position in range(0, span.bytes, 97):
        damaged = bytearray(clean)
        damaged[position] ^= 4
        path.write_bytes(bytes(damaged))
        with pytest.raises(ValueError, match=r"sample seven of .*x\.tar at 0 must have CRC-32"):
            read_sample(path, span.offset, span.bytes, key="seven", crc32=span.crc32)


def test_even_without_a_crc_a_broken_header_or_another_sample_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.tar"
    spans = write_shard(path, [(sample("a"), FLAC), (sample("b"), FLAC)]).spans
    with pytest.raises(ValueError, match=r"sample a of .* must carry that key, but carries b"):
        read_sample(path, spans[1].offset, spans[1].bytes, key="a")
    with pytest.raises(ValueError, match="must be a FLAC and a JSON member of one key"):
        read_sample(path, 0, spans[0].bytes + spans[1].bytes)
    with pytest.raises(ValueError, match="must be a FLAC and a JSON member of one key"):
        read_sample(path, 512, spans[0].bytes - 512)
    with pytest.raises(ValueError, match=r"must have 9,999,999 bytes, but the file ends after"):
        read_sample(path, 0, 9_999_999)
    damaged = bytearray(path.read_bytes())
    damaged[3] ^= 1  # in the name of the first member: only the header's checksum can know
    path.write_bytes(bytes(damaged))
    with pytest.raises(ValueError, match="must be a FLAC and a JSON member"):
        read_sample(path, 0, spans[0].bytes)


def test_a_failing_source_leaves_no_shard(tmp_path: Path) -> None:
    def broken() -> Iterator[tuple[Sample, bytes]]:
        yield sample("a"), FLAC
        raise RuntimeError("the disk is gone")

    with pytest.raises(RuntimeError):
        write_shard(tmp_path / "x.tar", broken())
    assert list(tmp_path.iterdir()) == []


@given(st.text(min_size=1, max_size=120))
def test_a_key_is_plain_short_and_its_own(key: str) -> None:
    plain = member_key(key)
    assert set(plain) <= set(string.ascii_letters + string.digits + "-_")
    assert 0 < len(plain) <= 80
    assert member_key(plain) == plain


def test_keys_that_differ_stay_different() -> None:
    keys = ["a.b", "a/b", "a_b", "a b", "ä", "ö", "x" * 200, "x" * 201]
    assert len({member_key(key) for key in keys}) == len(keys)
    assert member_key("speaker-1_utt-2") == "speaker-1_utt-2"
