r"""A folder of recordings whose names carry the label, by a pattern with named groups.

    read("digits/recordings", pattern=r"(?P<text>\d)_(?P<speaker>[a-z]+)_(?P<index>\d+)", split=("test:_[0-4]$",))

`text` is what is said ("7" becomes "seven" when ingest normalises it), `speaker`, `language`, `domain` and `split` are
taken when the pattern has them; other groups only match.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import audio_files, compile_pattern, split_rules
from antiphon.data.utterance import Reject, Utterance


def read(
    path: str | Path,
    *,
    pattern: str,
    split: Sequence[str] | str = "train",
    underscores: bool = False,
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """An utterance for each audio file below `path` whose stem the pattern matches in full; others are rejected.

    split is a name, or rules `name:regex` over the stem (see `split_rules`). With `underscores`, _ in a label stands
    for a space.
    """
    root, label, split_of = Path(path), compile_pattern(pattern), split_rules(split)
    files = audio_files(root)
    stems = Counter(file.with_suffix("") for file in files)
    for file in files:
        # call.mp3 and call.wav are two recordings
        name = file.with_suffix("") if stems[file.with_suffix("")] == 1 else file
        key = name.relative_to(root).as_posix()
        match = label.fullmatch(file.stem)
        if match is None:
            detail = f"the name {file.name} must match {pattern!r}, but does not; where it lies: {file}"
            yield Reject(key=key, reason="name_without_label", detail=detail)
            continue
        groups = {name: value for name, value in match.groupdict().items() if value}
        text = groups.get("text")
        yield Utterance(
            key=key,
            split=groups.get("split") or split_of(file.stem),
            audio=AudioFile(path=file),
            text=text.replace("_", " ") if text and underscores else text,
            speaker=groups.get("speaker", ""),
            language=groups.get("language", language),
            domain=groups.get("domain", domain),
        )
