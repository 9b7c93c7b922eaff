"""How corpora lay out their files: which are audio, where a relative name leads, which split a name belongs to."""

import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

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


def split_rules(rules: Sequence[str] | str) -> Callable[[str], str]:
    """Rules `name` or `name:regex` -> a function from an utterance's name to its split.

    The first rule whose regex is found in the name counts; a rule without a regex always does; "train" when none fits.
    """
    parsed = [(name, compile_pattern(regex)) for name, _, regex in (r.partition(":") for r in _listed(rules))]
    return lambda name: next((split for split, regex in parsed if regex.search(name)), "train")


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """A regular expression of the user's. Raises ValueError that shows it when it is none."""
    try:
        return re.compile(pattern)
    except re.error as error:
        raise ValueError(f"a pattern must be a regular expression, but {pattern!r} is not ({error})") from error


def _listed(rules: Sequence[str] | str) -> Sequence[str]:
    return [rules] if isinstance(rules, str) else rules
