"""A table of recordings and transcripts: CSV, TSV or JSON lines, Common Voice's and NeMo's included.

    read("cv/en/train.tsv")                                         path, sentence, client_id; audio in clips/
    read("train_manifest.json")                                     audio_filepath, text, offset, duration
    read("calls.csv", audio="recording", text="words", split="test")

Column names are recognised (see _NAMES) or given. A table without an audio column is text only, one without a text
column speech only.
"""

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import find_file, read_text
from antiphon.data.utterance import Reject, Utterance

_NAMES = {
    "key": ("id", "key", "utt_id", "utterance_id", "utterance", "uid"),
    "audio": (
        "audio_filepath",
        "audio",
        "audio_path",
        "path",
        "wav",
        "wav_filename",
        "filename",
        "file_name",
        "file",
        "filepath",
    ),
    "text": ("text", "sentence", "transcript", "transcription", "normalized_text"),
    "start": ("offset", "start", "start_sec", "begin"),
    "end": ("end", "end_sec", "stop"),
    "duration": ("duration", "duration_sec"),
    "speaker": ("speaker", "speaker_id", "client_id", "spk"),
    "language": ("language", "lang", "locale"),
    "domain": ("domain",),
    "split": ("split", "subset"),
}

Row = dict[str, Any]

_MORE = "_more"  # where a CSV row keeps the fields that the header does not name
_NOT_FINITE = re.compile(r"[+-]?(nan|inf|infinity)", re.IGNORECASE)


def read(
    path: str | Path,
    *,
    audio_root: str | Path | None = None,
    split: str | None = None,
    domain: str = "",
    language: str = "en",
    **columns: str,
) -> Iterator[Utterance | Reject]:
    """An utterance for each row of a table.

    `columns` names columns that are not recognised: key, audio, text, start, end, duration, speaker, language_column,
    domain_column, split_column. The split is `split`, else the row's, else the file's name ("train_manifest.json" is
    train). Relative audio is sought from audio_root, else from the table's folder and its `clips`.
    """
    file = Path(path)
    rows = iter(_rows(file))
    first = next(rows, None)
    if first is None:
        raise ValueError(f"{file} must hold rows, but holds none; check the path and the format")
    header = {name: value for name, value in first.items() if name != _MORE}
    names = _columns(file, header, columns)
    bases = [Path(audio_root)] if audio_root else [file.parent, file.parent / "clips"]
    stem = file.name.split(".")[0].removesuffix("_manifest")
    defaults = {"split": split or "", "domain": domain, "language": language, "stem": stem}
    for number, row in enumerate(chain([first], rows), start=1):
        here = names if row.keys() == header.keys() else {**_recognised(row), **names}  # JSON rows may differ
        yield _record(row, number, file, here, bases, defaults)


def _record(
    row: Row, number: int, file: Path, names: dict[str, str], bases: list[Path], defaults: dict[str, str]
) -> Utterance | Reject:
    where = f"row {number:,} of {file}"
    if "_broken" in row:
        return Reject(
            key=f"{defaults['stem']}-{number}", reason="bad_row", detail=f"{where} must parse, but: {row['_broken']}"
        )
    if _MORE in row:
        detail = f"{where} must have as many fields as the header, but has more; quote fields that hold the delimiter"
        return Reject(key=f"{defaults['stem']}-{number}", reason="bad_row", detail=detail)
    value = {name: str(row[column]).strip() for name, column in names.items() if row.get(column) not in (None, "")}
    audio_name = value.get("audio", "")
    key = value.get("key") or (audio_name.rpartition(".")[0] or audio_name) or f"{defaults['stem']}-{number:07d}"
    if "audio" in names and not audio_name:
        return Reject(key=key, reason="missing_audio", detail=f"{where} has nothing in column {names['audio']}")
    if "text" in names and not value.get("text"):
        return Reject(key=key, reason="missing_text", detail=f"{where} has nothing in column {names['text']}")
    audio = None
    if audio_name:
        try:
            start, duration = _stretch(value)
        except ValueError:
            return Reject(key=key, reason="bad_segment", detail=f"{where} must give times in seconds, but has {value}")
        if duration is not None and "key" not in value:
            key = f"{key}-{round(start * 1000):08d}"
        audio = AudioFile(path=find_file(audio_name, bases), start_sec=start, duration_sec=duration)
    return Utterance(
        key=key,
        split=defaults["split"] or value.get("split") or defaults["stem"],
        audio=audio,
        text=value.get("text"),
        speaker=value.get("speaker", ""),
        language=value.get("language", defaults["language"]),
        domain=value.get("domain", defaults["domain"]),
    )


def _stretch(value: dict[str, str]) -> tuple[float, float | None]:
    """(start, duration) in seconds; a duration without a start only tells how long the file is.

    Raises ValueError for times that are no finite numbers.
    """
    if any(_NOT_FINITE.fullmatch(value.get(name, "")) for name in ("start", "end", "duration")):
        raise ValueError("times must be finite")
    if "start" not in value:
        return 0.0, None
    start = float(value["start"])
    duration = float(value["end"]) - start if "end" in value else float(value.get("duration", "0"))
    if not math.isfinite(1000 * start) or not math.isfinite(1000 * duration):  # 1e400; keys count milliseconds
        raise ValueError("times must be finite")
    return start, duration if "end" in value or "duration" in value else None


def _columns(file: Path, first: Row, given: dict[str, str]) -> dict[str, str]:
    """Field -> the table's column. Raises ValueError when a given column is not there or none holds audio or text."""
    known = {*_NAMES, "language_column", "domain_column", "split_column"}
    if unknown := sorted(set(given) - known):
        raise ValueError(f"a table's column options are {', '.join(sorted(known))}, but found {', '.join(unknown)}")
    if "_broken" in first:
        raise ValueError(f"{file} must start with a row that parses, but does not: {first['_broken']}")
    names = _recognised(first)
    for option, column in given.items():
        if column not in first:
            raise ValueError(f"column {column!r} must be in {file}, but its columns are {', '.join(map(str, first))}")
        names[option.removesuffix("_column")] = column
    if "audio" not in names and "text" not in names:
        shown = ", ".join(map(str, first))
        raise ValueError(
            f"{file} must have a column of audio or text, but has {shown}; name them with audio= and text="
        )
    return names


def _recognised(row: Row) -> dict[str, str]:
    found = {field: next((name for name in names if name in row), None) for field, names in _NAMES.items()}
    return {field: name for field, name in found.items() if name is not None}


def _rows(file: Path) -> Iterator[Row]:
    if file.suffix.lower() in (".json", ".jsonl", ".ndjson"):
        yield from _json_rows(file)
        return
    lines = io.StringIO(read_text(file), newline="")
    header = lines.readline()
    lines.seek(0)
    try:
        if "\t" in header:  # Common Voice quotes nothing and has sentences that start with a quotation mark
            yield from csv.DictReader(lines, restkey=_MORE, delimiter="\t", quoting=csv.QUOTE_NONE)
        else:
            yield from csv.DictReader(lines, restkey=_MORE, delimiter=max(",;|", key=header.count))
    except csv.Error as error:
        raise ValueError(f"{file} must be a table, but does not parse ({error}); check its quotes") from error


def _json_rows(file: Path) -> Iterator[Row]:
    text = read_text(file)
    if text.startswith("["):
        raise ValueError(f"{file} must hold one JSON object a line, but is one array; write its items as lines")
    for line in filter(str.strip, io.StringIO(text, newline=None)):
        try:
            row = json.loads(line)
        except ValueError as error:
            row = {"_broken": str(error)}
        yield row if isinstance(row, dict) else {"_broken": "not a JSON object"}
