"""Tables as people and Common Voice and NeMo write them."""

import json
from pathlib import Path

import pytest

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.table import read
from antiphon.data.utterance import Reject, Utterance


def only(records: object) -> Utterance:
    (record,) = records  # type: ignore[misc]
    assert isinstance(record, Utterance)
    return record


def test_common_voice(tmp_path: Path) -> None:
    (tmp_path / "clips").mkdir()
    (tmp_path / "clips/cv_1.mp3").write_bytes(b"x")
    header = "client_id\tpath\tsentence_id\tsentence\tsentence_domain\tup_votes\tlocale\tsegment\n"
    rows = 'abc\tcv_1.mp3\ts1\t"Quoted at the start, he said.\t\t2\ten\t\nabd\tcv_2.mp3\ts2\t\t\t2\ten\t\n'
    (tmp_path / "train.tsv").write_text(header + rows)
    good, bad = read(tmp_path / "train.tsv")
    assert good == Utterance(
        key="cv_1",
        split="train",
        audio=AudioFile(path=tmp_path / "clips/cv_1.mp3"),
        text='"Quoted at the start, he said.',
        speaker="abc",
        language="en",
    )
    assert isinstance(bad, Reject)
    assert (bad.key, bad.reason) == ("cv_2", "missing_text")


def test_nemo(tmp_path: Path) -> None:
    rows = [
        {"audio_filepath": "a/x.wav", "text": "whole", "duration": 3.2},
        {"audio_filepath": "a/x.wav", "text": "part", "offset": 1.5, "duration": 0.5},
        {"audio_filepath": "a/x.wav", "text": "other part", "offset": 2.0, "duration": 0.5},
    ]
    lines = [json.dumps(row) for row in rows]
    (tmp_path / "dev_manifest.json").write_text("\n".join([*lines, "{broken", "[1]", ""]))
    *kept, broken, array = read(tmp_path / "dev_manifest.json")
    assert [(u.key, u.split, u.text) for u in kept if isinstance(u, Utterance)] == [
        ("a/x", "dev", "whole"),
        ("a/x-00001500", "dev", "part"),
        ("a/x-00002000", "dev", "other part"),
    ]
    assert isinstance(kept[1], Utterance)
    assert kept[1].audio == AudioFile(path=tmp_path / "a/x.wav", start_sec=1.5, duration_sec=0.5)
    assert {r.reason for r in (broken, array) if isinstance(r, Reject)} == {"bad_row"}


def test_a_csv_with_names_of_its_own(tmp_path: Path) -> None:
    (tmp_path / "calls.csv").write_text(
        'recording,words,who,set,tongue\nc1.wav,"yes, please",ann,held,de\n', encoding="utf-8-sig"
    )
    options = {
        "audio": "recording",
        "text": "words",
        "speaker": "who",
        "split_column": "set",
        "language_column": "tongue",
    }
    found = only(read(tmp_path / "calls.csv", audio_root="/elsewhere", **options))
    assert found.audio == AudioFile(path=Path("/elsewhere/c1.wav"))
    assert (found.text, found.speaker, found.split, found.language) == ("yes, please", "ann", "held", "de")
    assert only(read(tmp_path / "calls.csv", split="test", **options)).split == "test"


@pytest.mark.parametrize("delimiter", [",", ";", "|", "\t"])
def test_every_delimiter_is_recognised(tmp_path: Path, delimiter: str) -> None:
    path = tmp_path / ("x.tsv" if delimiter == "\t" else "x.csv")
    path.write_text(
        delimiter.join(["id", "file", "text", "start", "end"])
        + "\n"
        + delimiter.join(["k", "a.wav", "hi", "1", "2.5"])
        + "\n"
    )
    found = only(read(path))
    assert (found.key, found.audio) == ("k", AudioFile(path=tmp_path / "a.wav", start_sec=1.0, duration_sec=1.5))


def test_a_table_without_audio_is_text_and_one_without_text_is_speech(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,text\na,hello\n")
    (tmp_path / "s.csv").write_text("id,path\na,x.wav\n")
    assert only(read(tmp_path / "t.csv")).kind == "text"
    assert only(read(tmp_path / "s.csv")).kind == "speech"


def test_rows_that_say_nothing_are_counted(tmp_path: Path) -> None:
    (tmp_path / "x.csv").write_text("path,text,offset,duration\n,hello,,\na.wav,,,\nb.wav,hi,soon,1\nc.wav\n")
    assert [(r.key, r.reason) for r in read(tmp_path / "x.csv") if isinstance(r, Reject)] == [
        ("x-0000001", "missing_audio"),
        ("a", "missing_text"),
        ("b", "bad_segment"),
        ("c", "missing_text"),
    ]


def test_wrong_columns_are_refused_with_those_there_are(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text("foo,bar\n1,2\n")
    with pytest.raises(ValueError, match=r"must have a column of audio or text, but has foo, bar"):
        list(read(path))
    with pytest.raises(ValueError, match=r"column 'words' must be in .*, but its columns are foo, bar"):
        list(read(path, text="words"))
    with pytest.raises(ValueError, match=r"a table's column options are .*, but found txt"):
        list(read(path, txt="foo"))
    path.write_text("path,text\n")
    with pytest.raises(ValueError, match="must hold rows, but holds none"):
        list(read(path))
    (tmp_path / "x.json").write_text('[{"text": "a"}]')
    with pytest.raises(ValueError, match="must hold one JSON object a line, but is one array"):
        list(read(tmp_path / "x.json"))


def test_a_row_with_more_fields_than_the_header_is_no_cut_transcript(tmp_path: Path) -> None:
    path = tmp_path / "x.csv"
    path.write_text('path,text\na.wav,yes, please\nb.wav,"yes, please"\nc.wav,no, thanks\n')
    first, kept, last = read(path)
    assert isinstance(kept, Utterance)
    assert (kept.key, kept.text) == ("b", "yes, please")
    assert [(r.key, r.reason) for r in (first, last) if isinstance(r, Reject)] == [
        ("x-1", "bad_row"),
        ("x-3", "bad_row"),
    ]
    with pytest.raises(ValueError, match=r"but its columns are path, text$"):
        list(read(path, speaker="who"))


@pytest.mark.parametrize(
    "times",
    [
        '"offset": NaN, "duration": 1',
        '"offset": Infinity',
        '"offset": 0, "duration": Infinity',
        '"offset": 1, "end": -Infinity',
        '"offset": 1e400, "end": 1e400',
        '"offset": 1e308, "duration": 1',
        '"offset": "1e400"',
        '"duration": NaN',
    ],
)
def test_times_that_are_not_finite_are_rejected_alone(tmp_path: Path, times: str) -> None:
    path = tmp_path / "x.jsonl"
    good = '{"audio": "a.wav", "text": "hi", "offset": 1, "duration": 2}\n'
    path.write_text(good + '{"audio": "b.wav", "text": "hi", ' + times + "}\n" + good)
    assert [getattr(record, "reason", "kept") for record in read(path)] == ["kept", "bad_segment", "kept"]


@pytest.mark.parametrize("name", ["x.csv", "x.jsonl"])
def test_a_table_that_is_not_utf_8_is_refused_and_one_with_a_mark_read(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    content = "id,text\na,caf\u00e9\n" if name == "x.csv" else '{"id": "a", "text": "caf\u00e9"}\r\n'
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(content.encode(encoding))
        assert only(read(path)).text == "caf\u00e9"
    for encoding in ("latin-1", "utf-16-le"):
        path.write_bytes(content.encode(encoding))
        with pytest.raises(ValueError, match=rf"{name} must be UTF-8, but is not \(.*\); save it as UTF-8"):
            list(read(path))
