"""Cut manifests of lhotse (`pip install lhotse`), so that its recipes serve: each supervision becomes an utterance.

lhotse reads the manifest; the audio is read by our own decoders. Recordings that are commands or addresses are
rejected, because a manifest must not run programs or fetch files, and so are cuts that mix or change audio.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import find_file
from antiphon.data.utterance import Reject, Utterance


def read(
    path: str | Path,
    *,
    split: str = "train",
    audio_root: str | Path | None = None,
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """Utterances of a cut manifest (.jsonl, .jsonl.gz, .json, .yaml); relative audio is sought from audio_root."""
    try:
        from lhotse import CutSet
    except ImportError as error:
        advice = "pip install 'antiphon[corpora]'"
        raise ValueError(f"cut manifests need lhotse, which is not installed; {advice}") from error
    bases = [Path(audio_root)] if audio_root else [Path(), Path(path).parent]
    for cut in CutSet.from_file(path):
        yield from _utterances(cut, bases, split, domain, language)


def _utterances(cut: Any, bases: list[Path], split: str, domain: str, language: str) -> Iterator[Utterance | Reject]:
    refusal = _refusal(cut)
    if refusal is not None:
        yield refusal
        return
    file = find_file(cut.recording.sources[0].source, bases)
    channel = cut.channel if isinstance(cut.channel, int) and cut.recording.num_channels > 1 else None
    if not cut.supervisions:
        yield Reject(key=cut.id, reason="missing_text", detail=f"cut {cut.id} of {file} has no supervision")
    for supervision in cut.supervisions:
        key = cut.id if len(cut.supervisions) == 1 else supervision.id
        if not supervision.text:
            yield Reject(key=key, reason="missing_text", detail=f"supervision {supervision.id} of {file} has no text")
            continue
        # A supervision's times are relative to its cut, and may reach over its ends.
        start = max(0.0, supervision.start)
        seconds = min(cut.duration, supervision.start + supervision.duration) - start
        whole = cut.start + start == 0.0 and abs(seconds - cut.recording.duration) < 1e-3
        yield Utterance(
            key=key,
            split=split,
            audio=AudioFile(
                path=file,
                start_sec=cut.start + start,
                duration_sec=None if whole else seconds,
                channel=channel,
            ),
            text=supervision.text,
            speaker=supervision.speaker or "",
            language=supervision.language or language,
            domain=domain,
        )


def _refusal(cut: Any) -> Reject | None:
    """Why a cut cannot be read as a stretch of one file; None when it can."""
    recording = getattr(cut, "recording", None)
    if recording is None:
        return Reject(
            key=cut.id,
            reason="unsupported_cut",
            detail=f"cut {cut.id} must be of one recording, but is a {type(cut).__name__}",
        )
    if recording.transforms:
        return Reject(
            key=cut.id, reason="unsupported_cut", detail=f"cut {cut.id} changes its audio: {recording.transforms}"
        )
    kinds = [source.type for source in recording.sources]
    if kinds != ["file"]:
        return Reject(
            key=cut.id, reason="unsupported_source", detail=f"cut {cut.id} must be of one file, but is of {kinds}"
        )
    return None
