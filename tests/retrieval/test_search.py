"""Queries reach the rows that the same text and the same recording made; bad ones are refused."""

import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import cli
from antiphon.audio.waveform import decode_flac, write_wav
from antiphon.data.manifest import read_rows
from antiphon.data.shards import read_sample
from antiphon.retrieval.embed import embed
from antiphon.retrieval.index import IndexConfig, build
from antiphon.retrieval.search import Searcher, search, table
from antiphon.retrieval.store import Store
from antiphon.retrieval.versions import Encoder


@pytest.fixture(scope="module")
def searcher(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Searcher:
    out = tmp_path_factory.mktemp("search") / "store"
    embed(world.run, [world.shards], out)
    return Searcher(Store(out))


@pytest.fixture(scope="module")
def recordings(world: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Key of the store -> the recording as a file at another rate and with two channels."""
    folder, found = tmp_path_factory.mktemp("wav"), {}
    for row in read_rows(world.shards).to_pylist():
        if row["split"] == "test":
            _, flac = read_sample(world.shards / row["shard"], row["offset"], row["bytes"])
            wave = decode_flac(flac)
            found[f"stew/{row['key']}"] = folder / f"{len(found)}.wav"
            write_wav(found[f"stew/{row['key']}"], wave.samples, wave.sample_rate)
    return found


def test_a_text_finds_the_row_of_that_text_first(searcher: Searcher) -> None:
    """Written as people write; a word may be spoken otherwise in the corpus, which the score shows a little."""
    for row in searcher.store.table("shared", "text").to_pylist()[:6]:
        hits = searcher.by_text(row["text"].upper() + "!", k=3, modality="text")
        assert hits[0].text == row["text"]
        assert hits[0].score > 0.98
        assert [hit.score for hit in hits] == sorted((hit.score for hit in hits), reverse=True)
        assert (hits[0].modality, hits[0].domain, hits[0].source) == ("text", row["domain"], row["source"])


def test_a_recording_finds_its_own_row_first(searcher: Searcher, recordings: dict[str, Path]) -> None:
    for key, path in list(recordings.items())[:6]:
        hits = searcher.by_audio(path, k=2, modality="speech")
        assert hits[0].key == key
        assert hits[0].score > 0.999


def test_the_other_modality_answers_by_default(searcher: Searcher, recordings: dict[str, Path]) -> None:
    assert {hit.modality for hit in searcher.by_text("zero", k=5)} == {"speech"}
    path = next(iter(recordings.values()))
    assert {hit.modality for hit in searcher.by_audio(path, k=5)} == {"text"}
    folder = searcher.store.folder
    assert search(folder, text="zero", k=5) == searcher.by_text("zero", k=5)
    assert search(folder, audio=path, k=5, modality="speech") == searcher.by_audio(path, k=5, modality="speech")
    assert len(searcher.by_text("zero", k=1000)) == 20


def test_an_index_gives_the_hits_of_exact_search(world: Any, searcher: Searcher, tmp_path: Path) -> None:
    """And is used, unless exact search is asked for."""
    store = Store(shutil.copytree(searcher.store.folder, tmp_path / "store"))
    build(store, IndexConfig(kind="flat"))
    indexed, exact = (Searcher(store, checkpoint=world.run, exact=exact) for exact in (False, True))
    assert (type(indexed.engine("speech")).__name__, type(exact.engine("speech")).__name__) == ("Index", "Exact")
    for text in ("good morning", "seven of nine"):
        hits, want = indexed.by_text(text), exact.by_text(text)
        assert [hit.id for hit in hits] == [hit.id for hit in want]
        np.testing.assert_allclose([hit.score for hit in hits], [hit.score for hit in want], atol=1e-6)


def test_the_table_shows_what_a_person_asks_for(searcher: Searcher) -> None:
    hits = searcher.by_text("hello", k=3)
    shown = table(hits)
    for hit in hits:
        for fact in (f"{hit.score:.3f}", hit.speaker, hit.domain, hit.text, hit.source):
            assert fact in shown
    assert len(shown.splitlines()) == 4
    assert "- " in table([replace(hits[0], speaker="", domain="")])


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ({"text": "?!"}, "must hold a word"),
        ({"text": ""}, "must hold a word"),
        ({"text": "数字"}, "at least one character of the tokenizer's vocabulary"),
        ({"text": "a" * 100_000}, "at most 2,000 characters"),
        ({}, "but is neither"),
        ({"text": "one", "audio": Path("x.wav")}, "but is both"),
        ({"audio": Path("nosuch.wav")}, "nosuch.wav"),
        ({"text": "one", "modality": "speech", "k": 0}, "k must be at least 1"),
    ],
)
def test_a_bad_query_is_refused_in_one_sentence(searcher: Searcher, query: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        search(searcher.store.folder, **query)


@pytest.mark.parametrize("seconds", [0.0, 0.05, 130.0])
def test_a_recording_of_no_length_or_of_too_much_is_refused(searcher: Searcher, tmp_path: Path, seconds: float) -> None:
    write_wav(tmp_path / "query.wav", np.zeros(round(seconds * 8000), np.float32), 8000)
    with pytest.raises(ValueError, match=r"query\.wav"):
        searcher.by_audio(tmp_path / "query.wav")


def test_only_the_stores_own_encoder_may_ask(world: Any, searcher: Searcher, tmp_path: Path) -> None:
    store = searcher.store
    with pytest.raises(ValueError, match="must be embedded by the checkpoint that made"):
        Searcher(store, checkpoint=world.other_run).by_text("one")
    with pytest.raises(ValueError, match=r"must be there to embed the query.* with --checkpoint"):
        Searcher(store, checkpoint=tmp_path / "moved").by_text("one")
    assert Searcher(store, checkpoint=world.run).by_text("one") == searcher.by_text("one")
    moved = Store.create(tmp_path / "empty", dim=store.version.dim, encoder=Encoder(checkpoint="x", path="nosuch"))
    with pytest.raises(ValueError, match="holds nothing; embed them first"):
        Searcher(moved).by_vector(np.ones(store.version.dim, np.float32), modality="speech")


def test_the_command_line_finds_a_moved_run(
    world: Any, searcher: Searcher, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The store is copied to where the path that it notes leads nowhere: the run is named, as the error advises."""
    store = shutil.copytree(searcher.store.folder, tmp_path / "away" / "from" / "here" / "store")
    ask = ["search", str(store), "--text", "zero", "--limit", "3", "--threads", "1", "--device", "cpu"]
    assert cli.main(ask) == 2
    assert "--checkpoint" in capsys.readouterr().err
    assert cli.main([*ask, "--checkpoint", str(world.run)]) == 0
    assert capsys.readouterr().out.strip() == table(searcher.by_text("zero", k=3))
