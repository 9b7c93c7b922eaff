"""Text without speech, one sentence an utterance."""

import json
from collections import Counter
from pathlib import Path

import pytest

from antiphon.data.corpora.plain_text import read
from antiphon.data.utterance import Reject, Utterance

GRID = """File type = "ooTextFile"
Object class = "TextGrid"
item []:
    item [1]:
        class = "IntervalTier"
        name = "Doctor"
        intervals [1]:
            xmin = 0
            xmax = 1
            text = ""
        intervals [2]:
            text = "Hello? <UNSURE>How ""are"" you</UNSURE>  today."
        intervals [3]:
            text = "<UNIN/>"
"""


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "lm.txt").write_text("turn on the light\n\n  play music \n")
    one, two = read(tmp_path / "lm.txt", domain="home")
    assert one == Utterance(key="lm-0000001", split="text", text="turn on the light", domain="home")
    assert isinstance(two, Utterance)
    assert (two.key, two.text, two.kind) == ("lm-0000002", "play music", "text")


def test_json_lines(tmp_path: Path) -> None:
    rows = [{"sentence": "first"}, {"other": "x"}, {"sentence": ""}, {"sentence": "second"}]
    (tmp_path / "x.jsonl").write_text("\n".join([*map(json.dumps, rows), "{oops"]))
    records = list(read(tmp_path / "x.jsonl", split="train"))
    assert [r.text for r in records if isinstance(r, Utterance)] == ["first", "second"]
    assert Counter(r.reason for r in records if isinstance(r, Reject)) == {"missing_text": 2, "bad_row": 1}
    assert [r.text for r in read(tmp_path / "x.jsonl", field="other") if isinstance(r, Utterance)] == ["x"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_text_grids_lose_their_tags_and_are_cut_into_sentences(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "a/day1.TextGrid").parent.mkdir()
    (tmp_path / "a/day1.TextGrid").write_text(GRID, encoding=encoding)
    records = list(read(tmp_path, suffix=".TextGrid"))
    assert [r.text for r in records if isinstance(r, Utterance)] == ["Hello?", 'How "are" you today.']
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [("a/day1-0000003", "only_markup")]


def test_files_that_are_no_text_are_counted_or_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold text files"):
        list(read(tmp_path))
    (tmp_path / "x.txt").write_bytes(b"\xc3\x28 latin")
    (tmp_path / "y.textgrid").write_text("0 1 short form")
    assert [r.reason for r in read(tmp_path) if isinstance(r, Reject)] == ["bad_encoding", "bad_row"]


def test_the_medical_consultations(shared_data: Path) -> None:
    records = list(read(shared_data / "domain_text/medical/transcripts"))
    texts = [r.text or "" for r in records if isinstance(r, Utterance)]
    assert len(texts) > 10_000
    assert not any("<" in text or '""' in text for text in texts)
    assert {r.reason for r in records if isinstance(r, Reject)} == {"only_markup"}
