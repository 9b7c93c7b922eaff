"""Kaldi data directories: wav.scp, text, and where they are there segments, utt2spk, utt2lang, and canonical phones.

read("corpora/read_english")                  a root whose folders `train` and `test` hold a wav.scp each: splits
read("data/train_clean", split="train")       one directory
"""

import re
from collections.abc import Iterator
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import AUDIO_SUFFIXES, find_file, read_pairs
from antiphon.data.utterance import Pronunciation, Reject, Utterance


def read(
    path: str | Path,
    *,
    split: str | None = None,
    audio_root: str | Path | None = None,
    text_phone: str | Path | None = None,
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """Utterances of a data directory, or of each directory below `path` that holds a wav.scp, named after it.

    A directory without the file `text` is speech only. Relative names in wav.scp are sought from audio_root, else from
    the directory and its parents. text_phone, or the file `resource/text-phone` in `path`, gives lines of
    `utterance.word<TAB>phones`, whose marks of stress and position are taken off. Recordings
    that lie beside those of wav.scp, but that no wav.scp names, are rejected as `missing_text`; lines of wav.scp,
    segments and text whose key stood before, as `duplicate_id`.
    """
    root = Path(path)
    folders = [root] if (root / "wav.scp").exists() else sorted(p.parent for p in root.glob("*/wav.scp"))
    if not folders:
        raise ValueError(
            f"a Kaldi directory must hold wav.scp, but neither {root} nor a folder in it does; check the path"
        )
    phone_file = Path(text_phone) if text_phone else root / "resource" / "text-phone"
    phones = _read_phones(phone_file) if text_phone or phone_file.exists() else {}
    base = Path(audio_root) if audio_root else None
    for folder in folders:
        yield from _read_folder(folder, split or folder.name, base, phones, domain, language)
    # Directories beside these may name what lies in the same audio folders.
    beside = {scp.parent for folder in folders for scp in folder.parent.glob("*/wav.scp")}
    yield from _unnamed(
        [_recordings(folder, base) for folder in folders], [_recordings(f, base) for f in sorted(beside)]
    )


def _read_folder(
    folder: Path,
    split: str,
    audio_root: Path | None,
    phones: dict[str, Pronunciation],
    domain: str,
    language: str,
) -> Iterator[Utterance | Reject]:
    for name in ("wav.scp", "segments", "text"):
        if (folder / name).exists():
            yield from read_pairs(folder / name)[1]
    files = _recordings(folder, audio_root)
    texts, speakers, languages = (_read_map(folder / name) for name in ("text", "utt2spk", "utt2lang"))
    speech_only = not (folder / "text").exists()
    segments = _read_map(folder / "segments") if (folder / "segments").exists() else {key: key for key in files}
    for key in sorted(segments.keys() | texts.keys()):
        recording, *times = segments.get(key, "").split() or [""]
        audio = _audio(files.get(recording), times)
        if not texts.get(key) and not speech_only:
            yield Reject(key=key, reason="missing_text", detail=f"{key} has audio, but no words in {folder}/text")
        elif recording not in files:
            detail = f"{key} must have a recording, but {recording or 'it'} is not in wav.scp of {folder}"
            yield Reject(key=key, reason="missing_audio", detail=detail)
        elif files[recording] is None:
            detail = f"wav.scp must name files, but {recording} is a command, and commands are not run; make it a file"
            yield Reject(key=key, reason="audio_is_command", detail=detail)
        elif audio is None:
            detail = f"segment {key} must give a start before its end, but gives {' '.join(times)}"
            yield Reject(key=key, reason="bad_segment", detail=detail)
        else:
            yield Utterance(
                key=key,
                split=split,
                audio=audio,
                text=texts.get(key),
                phones=phones.get(key),
                speaker=speakers.get(key, ""),
                language=languages.get(key, language),
                domain=domain,
            )
    for recording in sorted(files.keys() - {(value.split() or [""])[0] for value in segments.values()}):
        yield Reject(key=recording, reason="missing_text", detail=f"no segment of {folder} is of {recording}")


def _recordings(folder: Path, audio_root: Path | None) -> dict[str, Path | None]:
    """Recording -> its file; None for a command, which is not run."""
    bases = [audio_root] if audio_root else [folder, *folder.parents]
    names = _read_map(folder / "wav.scp")
    return {key: None if name.endswith("|") else find_file(name, bases) for key, name in names.items()}


def _audio(path: Path | None, times: list[str]) -> AudioFile | None:
    """The file, or the stretch between two times; None when there is none."""
    if path is None or not times:
        return None if path is None else AudioFile(path=path)
    try:
        start, end = float(times[0]), float(times[1])
    except (ValueError, IndexError):
        return None
    return AudioFile(path=path, start_sec=start, duration_sec=end - start) if 0 <= start < end else None


def _unnamed(read: list[dict[str, Path | None]], known: list[dict[str, Path | None]]) -> Iterator[Reject]:
    """Audio files in the folders of files that were read, which no wav.scp names: sound without a transcript."""
    named = {path for files in [*read, *known] for path in files.values() if path}
    for folder in sorted({path.parent for files in read for path in files.values() if path}):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix.lower() in AUDIO_SUFFIXES and path not in named:
                detail = f"{path} stands in no wav.scp, so it has no transcript"
                yield Reject(key=path.stem, reason="missing_text", detail=detail)


def _read_map(path: Path) -> dict[str, str]:
    """`key value...` lines, the first of each key; {} for a file that is not there."""
    return read_pairs(path)[0] if path.exists() else {}


def _read_phones(path: Path) -> dict[str, Pronunciation]:
    """`utterance.word<TAB>AH0_B T_E` lines -> utterance -> phones of each word, without stress and position."""
    words: dict[str, dict[int, tuple[str, ...]]] = {}
    for name, value in _read_map(path).items():
        utterance, _, number = name.rpartition(".")
        words.setdefault(utterance, {})[int(number)] = tuple(re.sub(r"[012]?(_[BIES])?$", "", p) for p in value.split())
    return {utterance: tuple(by_number[row] for row in sorted(by_number)) for utterance, by_number in words.items()}
