"""How corpora lay out their files: which are audio, where a name leads, how text is read, which split a name has."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from antiphon.data.utterance import Reject

AUDIO_SUFFIXES = (".aac", ".aif", ".aiff", ".flac", ".m4a", ".mp3", ".oga", ".ogg", ".opus", ".sph", ".wav", ".webm")


def audio_files(root: Path) -> list[Path]:
    """The audio files below root, sorted. Raises ValueError when there is none."""
    files = sorted(path for path in root.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES)
    if not files:
        raise ValueError(f"{root} must hold audio files ({', '.join(AUDIO_SUFFIXES)}), but holds none; check the path")
    return files


def find_file(name: str, bases: Iterable[Path]) -> Path:
    """The name under the first base where it exists, else under the first base: ingest then reports it missing."""
    candidates = [base / name for base in bases]
    return next((path for path in candidates if os.path.exists(path)), candidates[0])  # false for impossible names


def decode(data: bytes) -> str:
    """UTF-8 with or without a mark, UTF-16 with one. Raises UnicodeDecodeError for anything else."""
    return data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")


def read_text(path: Path) -> str:
    """A file's text: UTF-8, or UTF-16 with a mark. Raises ValueError for anything else."""
    data = path.read_bytes()
    try:
        text = decode(data)
        if "\0" in text:  # UTF-16 without a mark is mostly good UTF-8
            raise ValueError("it holds zero bytes")
    except ValueError as error:
        raise ValueError(f"{path} must be UTF-8, but is not ({error}); save it as UTF-8") from error
    return text


def read_pairs(path: Path) -> tuple[dict[str, str], list[Reject]]:
    """`key value...` lines -> key -> its first value, and a `duplicate_id` for each line whose key stood before."""
    values: dict[str, str] = {}
    repeated = []
    for line in filter(str.strip, read_text(path).splitlines()):
        key, *value = line.split(maxsplit=1)
        if key in values:
            detail = f"a key must stand once in {path}, but {key} stands again; its first line is kept"
            repeated.append(Reject(key=key, reason="duplicate_id", detail=detail))
        else:
            values[key] = value[0].strip() if value else ""
    return values, repeated


def split_rules(rules: Sequence[str] | str) -> Callable[[str], str]:
    """Rules `name` or `name:regex` -> a function from an utterance's name to its split.

    The first rule whose regex is found in the name counts; a rule without a regex always does; "train" when none fits.
    """
    parsed = [(name, compile_pattern(regex)) for name, _, regex in (r.partition(":") for r in listed(rules))]
    return lambda name: next((split for split, regex in parsed if regex.search(name)), "train")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression of the user's. Raises ValueError that shows it when it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"a pattern must be a regular expression, but {pattern!r} is not ({error})") from error


def listed(names: Sequence[str] | str) -> Sequence[str]:
    """The names; one name given alone is a list of one."""
    return [names] if isinstance(names, str) else names
