"""LibriSpeech's and LJSpeech's trees, and folders whose names carry the label."""

from collections import Counter
from pathlib import Path

import pytest

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora import folder, librispeech, ljspeech
from antiphon.data.utterance import Reject, Utterance


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_librispeech(tmp_path: Path) -> None:
    for subset, speaker in (("train-clean-100", "19"), ("dev-clean", "84")):
        base = tmp_path / subset / speaker / "198"
        for number in range(3):
            sound(base / f"{speaker}-198-000{number}.flac")
        (base / f"{speaker}-198.trans.txt").write_text(f"{speaker}-198-0000 ONE WORD\n{speaker}-198-0001 TWO\n")
    records = list(librispeech.read(tmp_path))
    kept = [r for r in records if isinstance(r, Utterance)]
    assert [(u.key, u.split, u.speaker, u.text) for u in kept] == [
        ("84-198-0000", "dev-clean", "84", "ONE WORD"),
        ("84-198-0001", "dev-clean", "84", "TWO"),
        ("19-198-0000", "train", "19", "ONE WORD"),
        ("19-198-0001", "train", "19", "TWO"),
    ]
    assert kept[0].audio == AudioFile(path=tmp_path / "dev-clean/84/198/84-198-0000.flac")
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [
        ("84-198-0002", "missing_text"),
        ("19-198-0002", "missing_text"),
    ]
    assert {r.key[:2] for r in librispeech.read(tmp_path, subsets=["dev-clean"])} == {"84"}
    with pytest.raises(ValueError, match=r"but holds dev-clean, train-clean-100; check path and subsets"):
        list(librispeech.read(tmp_path, subsets=["test-clean"]))


def test_a_librispeech_chapter_without_its_transcript_and_a_key_that_stands_twice(tmp_path: Path) -> None:
    for key in ("1-2-0000", "1-2-0001", "1-3-0000"):
        speaker, chapter, _ = key.split("-")
        sound(tmp_path / f"dev-clean/{speaker}/{chapter}/{key}.flac")
    transcript = tmp_path / "dev-clean/1/3/1-3.trans.txt"
    transcript.write_text("1-3-0000 FIRST\n1-3-0000 LAST\n")
    records = list(librispeech.read(tmp_path))
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [
        ("1-2-0000", "missing_text"),
        ("1-2-0001", "missing_text"),
        ("1-3-0000", "duplicate_id"),
    ]
    assert [(u.key, u.text) for u in records if isinstance(u, Utterance)] == [("1-3-0000", "FIRST")]
    transcript.write_bytes("1-3-0000 CAF\u00c9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"1-3\.trans\.txt must be UTF-8, but is not"):
        list(librispeech.read(tmp_path))


def test_one_librispeech_subset_is_named_whole_and_must_be_there(tmp_path: Path) -> None:
    for subset in ("dev", "dev-clean"):
        sound(tmp_path / subset / "1/2/1-2-0000.flac")
    (record,) = librispeech.read(tmp_path, subsets="dev-clean")
    assert isinstance(record, Reject)
    assert "dev-clean" in record.detail
    with pytest.raises(ValueError, match=r"asked for \(test-clean\), but holds dev, dev-clean; check path and subsets"):
        list(librispeech.read(tmp_path, subsets=["dev", "test-clean"]))
    with pytest.raises(ValueError, match=r"trans\.txt, but holds none; check the path"):
        list(librispeech.read(tmp_path / "dev"))


def test_an_ljspeech_table_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_bytes("LJ1|caf\u00e9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"metadata\.csv must be UTF-8, but is not"):
        list(ljspeech.read(tmp_path))


def test_ljspeech(tmp_path: Path) -> None:
    for key in ("LJ001-0001", "LJ001-0002", "LJ050-0001", "LJ999-0001"):
        sound(tmp_path / f"wavs/{key}.wav")
    lines = [
        'LJ001-0001|In 1450, "he"|In fourteen fifty, "he"',
        "LJ001-0002|Only this|",
        "LJ050-0001|Test|Test",
        "LJ002-0001||",
    ]
    (tmp_path / "metadata.csv").write_text("\n".join(lines) + "\n")
    records = list(ljspeech.read(tmp_path, split=["test:^LJ050"]))
    assert [(u.key, u.text, u.split) for u in records if isinstance(u, Utterance)] == [
        ("LJ001-0001", 'In fourteen fifty, "he"', "train"),
        ("LJ001-0002", "Only this", "train"),
        ("LJ050-0001", "Test", "test"),
    ]
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [
        ("LJ002-0001", "missing_text"),
        ("LJ999-0001", "missing_text"),
    ]


def test_a_folder_of_labelled_names(tmp_path: Path) -> None:
    for name in ("7_ann_0.wav", "7_ann_5.wav", "deep/3_bob_9.flac", "readme.wav", "notes.txt"):
        sound(tmp_path / name)
    records = list(
        folder.read(
            tmp_path, pattern=r"(?P<text>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)", split=["test:_[0-4]$"], domain="d"
        )
    )
    assert [(u.key, u.text, u.speaker, u.split, u.domain) for u in records if isinstance(u, Utterance)] == [
        ("7_ann_0", "7", "ann", "test", "d"),
        ("7_ann_5", "7", "ann", "train", "d"),
        ("deep/3_bob_9", "3", "bob", "train", "d"),
    ]
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [("readme", "name_without_label")]


def test_names_of_one_stem_are_two_recordings(tmp_path: Path) -> None:
    sound(tmp_path / "a.mp3")
    sound(tmp_path / "a.wav")
    assert [u.key for u in folder.read(tmp_path, pattern="(?P<text>.*)", split="test")] == ["a.mp3", "a.wav"]


def test_split_text_and_underscores_come_from_the_name(tmp_path: Path) -> None:
    sound(tmp_path / "dev-turn_left.wav")
    (found,) = folder.read(tmp_path, pattern="(?P<split>[a-z]+)-(?P<text>.*)", underscores=True)
    assert isinstance(found, Utterance)
    assert (found.split, found.text) == ("dev", "turn left")
    (speech,) = folder.read(tmp_path, pattern=".*")
    assert isinstance(speech, Utterance)
    assert speech.kind == "speech"


def test_a_bad_pattern_or_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="must hold audio files"):
        list(folder.read(tmp_path, pattern="x"))
    with pytest.raises(ValueError, match=r"a pattern must be a regular expression, but '\(' is not"):
        list(folder.read(tmp_path, pattern="("))


def test_the_digits_and_their_official_split(shared_data: Path) -> None:
    pattern = r"(?P<text>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)"
    records = list(folder.read(shared_data / "digits/recordings", pattern=pattern, split=["test:_[0-4]$"]))
    assert Counter(u.split for u in records if isinstance(u, Utterance)) == {"train": 2_700, "test": 300}
    assert len(records) == 3_000
