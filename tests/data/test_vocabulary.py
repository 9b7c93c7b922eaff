"""From shards to a tokenizer."""

from pathlib import Path

import pytest

from antiphon.data.manifest import read_rows
from antiphon.data.vocabulary import make_tokenizer
from antiphon.text.tokenizer import Tokenizer


def test_every_text_of_the_corpus_is_encoded_and_comes_back(tiny_stew: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=64)
    assert tokenizer.vocab_size == 64
    rows = read_rows(tiny_stew, ["split", "text"]).to_pylist()
    learnt = {row["text"] for row in rows if row["split"] in ("train", "text")}
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in learnt)
    words = {word for text in learnt for word in text.split()}
    assert words == set(tokenizer.lexicon)


def test_the_test_split_is_not_looked_at(tiny_stew: Path, tmp_path: Path) -> None:
    tokenizer = make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=64)
    rows = read_rows(tiny_stew, ["split", "text"]).to_pylist()
    unseen = {word for row in rows if row["split"] == "test" for word in row["text"].split()}
    assert not unseen <= set(tokenizer.lexicon)


def test_a_finished_tokenizer_is_kept_and_another_size_is_not(tiny_stew: Path, tmp_path: Path) -> None:
    first = make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=64)
    written = (tmp_path / "t/tokenizer.json").stat().st_mtime_ns
    again = make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=64)
    assert again.fingerprint == first.fingerprint
    assert (tmp_path / "t/tokenizer.json").stat().st_mtime_ns == written
    make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=80)
    assert Tokenizer.load(tmp_path / "t").vocab_size == 80


def test_splits_without_text_are_refused(tiny_stew: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="in the splits nowhere"):
        make_tokenizer([tiny_stew], tmp_path / "t", vocab_size=64, splits=("nowhere",))
