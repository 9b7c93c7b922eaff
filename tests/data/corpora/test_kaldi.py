"""Kaldi directories as recipes write them, and what is wrong with them named."""

from collections import Counter
from pathlib import Path

import pytest

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.kaldi import read
from antiphon.data.utterance import Reject, Utterance


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return folder


def sound(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF")
    return path


def test_a_directory_with_every_file(tmp_path: Path) -> None:
    audio = sound(tmp_path / "audio/a.wav")
    folder = write(
        tmp_path / "data/train",
        wav_scp=f"rec1 {audio}\nrec2 ../../audio/a.wav\n",
        segments="u1 rec1 0.5 1.75\nu2 rec2 2 3\n",
        text="u1 HELLO  THERE\nu2 YES\n",
        utt2spk="u1 ann\nu2 bob\n",
        utt2lang="u2 de\n",
    )
    one, two = read(folder, split="dev", domain="d")
    assert one == Utterance(
        key="u1",
        split="dev",
        audio=AudioFile(path=audio, start_sec=0.5, duration_sec=1.25),
        text="HELLO  THERE",
        speaker="ann",
        language="en",
        domain="d",
    )
    assert isinstance(two, Utterance)
    assert (two.language, two.speaker, two.audio) == (
        "de",
        "bob",
        AudioFile(path=folder / "../../audio/a.wav", start_sec=2.0, duration_sec=1.0),
    )


def test_folders_below_a_root_are_splits_and_share_its_phones(tmp_path: Path) -> None:
    for split in ("train", "test"):
        sound(tmp_path / f"WAVE/{split}.wav")
        write(tmp_path / split, wav_scp=f"{split}1\tWAVE/{split}.wav\n", text=f"{split}1\tA WORD\n")
    write(tmp_path / "resource")
    (tmp_path / "resource/text-phone").write_text("train1.1\tW_B ER1_I D_E\ntrain1.0\tAH0_S\n")
    test, train = read(tmp_path)
    assert isinstance(test, Utterance)
    assert isinstance(train, Utterance)
    assert (test.split, test.phones) == ("test", None)
    assert (train.split, train.phones) == ("train", (("AH",), ("W", "ER", "D")))
    assert train.audio == AudioFile(path=tmp_path / "WAVE/train.wav")


def test_what_is_wrong_is_counted_and_what_is_right_is_kept(tmp_path: Path) -> None:
    for name in ("good", "silent", "extra"):
        sound(tmp_path / f"{name}.wav")
    folder = write(
        tmp_path / "train",
        wav_scp="good good.wav\nsilent silent.wav\npiped sox piped.wav -t wav - |\n",
        text="good YES\npiped NO\nghost BOO\n",
    )
    records = list(read(folder, audio_root=tmp_path))
    reasons = {r.key: r.reason for r in records if isinstance(r, Reject)}
    assert reasons == {
        "silent": "missing_text",
        "piped": "audio_is_command",
        "ghost": "missing_audio",
        "extra": "missing_text",
    }
    assert [r.key for r in records if isinstance(r, Utterance)] == ["good"]


def test_segments_that_are_none_are_counted(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    folder = write(
        tmp_path / "train",
        wav_scp="r a.wav\n",
        segments="u1 r 2 1\nu2 r x y\nu3 r 1\nu4 nowhere 0 1\nu5 r 0 1\n",
        text="".join(f"u{row} X\n" for row in range(1, 6)),
    )
    reasons = [r.reason for r in read(folder, audio_root=tmp_path) if isinstance(r, Reject)]
    assert Counter(reasons) == {"bad_segment": 3, "missing_audio": 1}


def test_recordings_that_no_segment_is_of_are_counted(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    folder = write(
        tmp_path / "x",
        wav_scp="r a.wav\nunused a.wav\np sox |\n",
        segments="u r 0 1\nv p 0 1\nw\n",
        text="u A\nv B\nw C\n",
    )
    reasons = {r.key: r.reason for r in read(folder, audio_root=tmp_path) if isinstance(r, Reject)}
    assert reasons == {"unused": "missing_text", "v": "audio_is_command", "w": "missing_audio"}


def test_a_directory_read_alone_knows_what_its_sisters_name(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        sound(tmp_path / f"WAVE/{name}.wav")
    write(tmp_path / "train", wav_scp="a WAVE/a.wav\n", text="a A\n")
    write(tmp_path / "test", wav_scp="b WAVE/b.wav\n", text="b B\n")
    assert [(r.key, type(r)) for r in read(tmp_path / "train")] == [("a", Utterance), ("c", Reject)]


def test_a_directory_without_text_is_speech_only(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    (only,) = read(write(tmp_path / "x", wav_scp="a a.wav\n"), audio_root=tmp_path)
    assert isinstance(only, Utterance)
    assert only.kind == "speech"


def test_a_key_that_stands_twice_is_counted_and_its_first_line_kept(tmp_path: Path) -> None:
    sound(tmp_path / "a.wav")
    sound(tmp_path / "b.wav")
    files = {"wav_scp": "r a.wav\ns b.wav\nr b.wav\n", "segments": "u r 0 1\nv s 0 1\nv s 1 2\n"}
    folder = write(tmp_path / "x", **files, text="u FIRST\nu LAST\nv V\n")
    records = list(read(folder, audio_root=tmp_path))
    assert [(r.key, r.reason) for r in records if isinstance(r, Reject)] == [
        (key, "duplicate_id") for key in ("r", "v", "u")
    ]
    kept = [(u.key, u.text, u.audio) for u in records if isinstance(u, Utterance)]
    assert kept == [
        ("u", "FIRST", AudioFile(path=tmp_path / "a.wav", duration_sec=1.0)),
        ("v", "V", AudioFile(path=tmp_path / "b.wav", duration_sec=1.0)),
    ]


def test_a_transcript_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    folder = write(tmp_path / "x", wav_scp="a a.wav\n")
    (folder / "text").write_bytes("a CAF\u00c9\n".encode("latin-1"))
    with pytest.raises(ValueError, match=r"text must be UTF-8, but is not \(.*\); save it as UTF-8"):
        list(read(folder))


def test_a_folder_without_wav_scp_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"must hold wav\.scp, but neither"):
        list(read(tmp_path))


def test_read_english_is_read_whole(shared_data: Path) -> None:
    records = list(read(shared_data / "read_english"))
    kept = [r for r in records if isinstance(r, Utterance)]
    assert Counter(r.split for r in kept) == {"train": 560, "test": 240}
    assert len({r.speaker for r in kept}) == 40
    assert all(r.phones and r.text and len(r.phones) == len(r.text.split()) for r in kept)
    assert all(isinstance(r.audio, AudioFile) and r.audio.path.exists() for r in kept)
    rejects = [r for r in records if isinstance(r, Reject)]
    assert [r.reason for r in rejects] == ["missing_text"] * 3
    assert all("SPEAKER9600" in r.detail for r in rejects)
