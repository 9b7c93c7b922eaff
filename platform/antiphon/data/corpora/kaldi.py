"""Kaldi data directories: wav.scp, text, and where they are there segments, utt2spk, utt2lang, and canonical phones.

read("corpora/read_english")                  a root whose folders `train` and `test` hold a wav.scp each: splits
read("data/train_clean", split="train")       one directory
"""

import re
from collections.abc import Iterator
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import AUDIO_SUFFIXES, find_file
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
    beside those of wav.scp that no wav.scp names are rejected as `missing_text`.
    """
    root = Path(path)
    folders = [root] if (root / "wav.scp").exists() else sorted(p.parent for p in root.glob("*/wav.scp"))
    if not folders:
        raise ValueError(
            f"a Kaldi directory must hold wav.scp, but neither {root} nor a folder in it does; check the path"
        )
    phone_file = Path(text_phone) if text_phone else root / "resource" / "text-phone"
    phones = _read_phones(phone_file) if text_phone or phone_file.exists() else {}
    named: set[Path] = set()
    for folder in folders:
        base = Path(audio_root) if audio_root else None
        yield from _read_folder(folder, split or folder.name, base, phones, domain, language, named)
    yield from _unnamed(named)


def _read_folder(
    folder: Path,
    split: str,
    audio_root: Path | None,
    phones: dict[str, Pronunciation],
    domain: str,
    language: str,
    named: set[Path],
) -> Iterator[Utterance | Reject]:
    recordings = _read_map(folder / "wav.scp")
    bases = [audio_root] if audio_root else [folder, *folder.parents]
    files: dict[str, Path] = {}
    for key, value in recordings.items():
        if value.endswith("|"):
            detail = f"wav.scp must name files, but {key} is a command, and commands are not run; convert it to a file"
            yield Reject(key=key, reason="audio_is_command", detail=detail)
        else:
            files[key] = find_file(value, bases)
            named.add(files[key])
    texts, speakers, languages = (_read_map(folder / name) for name in ("text", "utt2spk", "utt2lang"))
    speech_only = not (folder / "text").exists()
    segments = _read_map(folder / "segments") if (folder / "segments").exists() else {key: key for key in recordings}
    for key in sorted(segments.keys() | texts.keys()):
        if key not in segments:
            yield Reject(
                key=key, reason="missing_audio", detail=f"{folder}/text has {key}, but wav.scp and segments do not"
            )
            continue
        recording, *times = segments[key].split()
        if recording in recordings and recording not in files:
            continue  # a command: rejected above
        if not texts.get(key) and not speech_only:
            yield Reject(key=key, reason="missing_text", detail=f"{key} has audio, but no line in {folder}/text")
        elif recording not in files:
            yield Reject(
                key=key, reason="missing_audio", detail=f"segment {key} is of {recording}, which wav.scp lacks"
            )
        elif (audio := _audio(files[recording], times)) is None:
            yield Reject(
                key=key, reason="bad_segment", detail=f"segment {key} must give a start before its end: {times}"
            )
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


def _audio(path: Path, times: list[str]) -> AudioFile | None:
    """The file, or the stretch between two times; None when they are none."""
    if not times:
        return AudioFile(path=path)
    try:
        start, end = float(times[0]), float(times[1])
    except (ValueError, IndexError):
        return None
    return AudioFile(path=path, start_sec=start, duration_sec=end - start) if 0 <= start < end else None


def _unnamed(named: set[Path]) -> Iterator[Reject]:
    """Audio files in the folders of named ones that nobody names: there is sound, but no transcript."""
    for folder in sorted({path.parent for path in named}):
        for path in sorted(folder.iterdir()) if folder.is_dir() else []:
            if path.suffix.lower() in AUDIO_SUFFIXES and path not in named:
                yield Reject(
                    key=path.stem, reason="missing_text", detail=f"{path} stands in no wav.scp, so it has no transcript"
                )


def _read_map(path: Path) -> dict[str, str]:
    """`key value...` lines; {} for a file that is not there."""
    if not path.exists():
        return {}
    pairs = (line.split(maxsplit=1) for line in path.read_text(encoding="utf-8").splitlines() if line.strip())
    return {pair[0]: pair[1].strip() if len(pair) > 1 else "" for pair in pairs}


def _read_phones(path: Path) -> dict[str, Pronunciation]:
    """`utterance.word<TAB>AH0_B T_E` lines -> utterance -> phones of each word, without stress and position."""
    words: dict[str, dict[int, tuple[str, ...]]] = {}
    for name, value in _read_map(path).items():
        utterance, _, number = name.rpartition(".")
        words.setdefault(utterance, {})[int(number)] = tuple(re.sub(r"[012]?(_[BIES])?$", "", p) for p in value.split())
    return {utterance: tuple(by_number[row] for row in sorted(by_number)) for utterance, by_number in words.items()}
