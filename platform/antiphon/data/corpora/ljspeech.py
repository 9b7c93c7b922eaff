"""LJSpeech's tree: metadata.csv of `id|transcript|normalised transcript` lines, audio in wavs/<id>.wav. One speaker."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import read_text, split_rules
from antiphon.data.utterance import Reject, Utterance


def read(
    path: str | Path,
    *,
    split: Sequence[str] | str = "train",
    speaker: str = "LJ",
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """Utterances of metadata.csv, the normalised transcript where it has one; split: rules over ids (`split_rules`)."""
    root, split_of = Path(path), split_rules(split)
    table = root / "metadata.csv"
    if not table.exists():
        raise ValueError(f"{root} must hold metadata.csv, but does not; check the path")
    seen = set()
    for line in read_text(table).splitlines():
        key, *texts = line.split("|")  # the file quotes nothing
        if not key.strip():
            continue
        seen.add(key)
        text = next((text.strip() for text in reversed(texts) if text.strip()), "")
        if not text:
            yield Reject(key=key, reason="missing_text", detail=f"{table} has no transcript for {key}")
            continue
        audio = AudioFile(path=root / "wavs" / f"{key}.wav")
        yield Utterance(
            key=key, split=split_of(key), audio=audio, text=text, speaker=speaker, language=language, domain=domain
        )
    for file in sorted((root / "wavs").glob("*.wav")):
        if file.stem not in seen:
            yield Reject(key=file.stem, reason="missing_text", detail=f"{file} has no line in {table}")
