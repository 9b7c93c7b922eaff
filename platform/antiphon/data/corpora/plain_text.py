"""Text without speech: a file of sentences, JSON lines with a field, or a folder of them or of Praat TextGrids.

read("lm.txt")    read("requests.jsonl", field="sentence")    read("transcripts", suffix=".TextGrid")
"""

import json
import re
from collections.abc import Iterator
from pathlib import Path

from antiphon.data.corpora.layout import decode
from antiphon.data.utterance import Reject, Utterance

_FIELDS = ("text", "sentence", "transcript")
_SUFFIXES = (".txt", ".jsonl", ".json", ".textgrid")


def read(
    path: str | Path,
    *,
    split: str = "text",
    field: str | None = None,
    suffix: str | None = None,
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """Text-only utterances, one a line, a JSON object or a sentence of a TextGrid interval, whose tags are taken off.

    A folder gives the files below it that end in `suffix` (.txt, .jsonl, .json and .TextGrid unless one is named).
    """
    root = Path(path)
    endings = (suffix.lower(),) if suffix else _SUFFIXES
    files = sorted(p for p in root.rglob("*") if p.name.lower().endswith(endings)) if root.is_dir() else [root]
    if not files:
        raise ValueError(f"{root} must hold text files ({', '.join(endings)}), but holds none; check path and suffix")
    for file in files:
        stem = file.relative_to(root).with_suffix("").as_posix() if root.is_dir() else file.stem
        for number, text in enumerate(_texts(file, field), start=1):
            key = f"{stem}-{number:07d}"
            if isinstance(text, Reject):
                yield Reject(key=key, reason=text.reason, detail=f"entry {number:,} of {file}: {text.detail}")
            else:
                yield Utterance(key=key, split=split, text=text, language=language, domain=domain)


def _texts(file: Path, field: str | None) -> Iterator[str | Reject]:
    try:
        content = decode(file.read_bytes())
    except UnicodeDecodeError as error:
        yield Reject(key="", reason="bad_encoding", detail=f"must be UTF-8 or UTF-16 with a mark, but is not ({error})")
        return
    if file.suffix.lower() == ".textgrid":
        yield from _intervals(content)
    elif file.suffix.lower() in (".jsonl", ".json"):
        for line in content.splitlines():
            if line.strip():
                yield _field(line, field)
    else:
        yield from (line.strip() for line in content.splitlines() if line.strip())


def _field(line: str, field: str | None) -> str | Reject:
    try:
        row = json.loads(line)
    except ValueError as error:
        return Reject(key="", reason="bad_row", detail=f"must be JSON, but is not ({error})")
    names = [field] if field else _FIELDS
    text = next((row[name] for name in names if name in row), None) if isinstance(row, dict) else None
    if not isinstance(text, str) or not text.strip():
        return Reject(key="", reason="missing_text", detail=f"must have text under {' or '.join(names)}, but has none")
    return text.strip()


def _intervals(content: str) -> Iterator[str | Reject]:
    """Sentences of the labelled intervals of a TextGrid in its long form; an interval without a label is silence."""
    labels = re.findall(r'\btext = "((?:[^"]|"")*)"', content)
    if not labels:
        yield Reject(key="", reason="bad_row", detail='must be a TextGrid in long form, with text = "..." lines')
    for label in labels:
        if not label.strip():
            continue
        plain = re.sub(r"\s+", " ", re.sub(r"<[^<>]*>", " ", label.replace('""', '"'))).strip()
        if not plain:
            yield Reject(key="", reason="only_markup", detail=f"an interval must hold words, but holds {label!r}")
        yield from (part for part in re.split(r"(?<=[.?!])\s+", plain) if part)
