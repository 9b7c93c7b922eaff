"""LibriSpeech's tree: <subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt beside <utterance>.flac."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.corpora.layout import listed, read_pairs
from antiphon.data.utterance import Reject, Utterance


def read(
    path: str | Path,
    *,
    subsets: Sequence[str] | str = (),
    split: str | None = None,
    domain: str = "",
    language: str = "en",
) -> Iterator[Utterance | Reject]:
    """Utterances of the subsets below `path`, all or the named ones: train-clean-100 and the like are split `train`.

    Other subsets keep their name (dev-clean, test-other) unless `split` is given. A FLAC without a line in its
    chapter's transcript, or without that transcript, is rejected as `missing_text`. Raises ValueError for a subset that
    is not there.
    """
    root = Path(path)
    chapters = sorted({file.parent for ending in ("trans.txt", "flac") for file in root.glob(f"*/*/*/*.{ending}")})
    if not chapters:
        raise ValueError(f"{root} must hold <subset>/<speaker>/<chapter>/*.trans.txt, but holds none; check the path")
    found = {chapter.parts[-3] for chapter in chapters}
    wanted = set(listed(subsets)) if subsets else found
    if missing := ", ".join(sorted(wanted - found)):
        there = ", ".join(sorted(found))
        raise ValueError(
            f"{root} must hold the subsets asked for ({missing}), but holds {there}; check path and subsets"
        )
    for folder in chapters:
        subset, speaker = folder.parts[-3:-1]
        if subset not in wanted:
            continue
        texts: dict[str, str] = {}
        for transcript in sorted(folder.glob("*.trans.txt")):
            lines, repeated = read_pairs(transcript)
            texts |= lines
            yield from repeated
        for key in sorted(texts.keys() | {file.stem for file in folder.glob("*.flac")}):
            if not texts.get(key):
                detail = f"{folder / key}.flac has no line in a *.trans.txt beside it"
                yield Reject(key=key, reason="missing_text", detail=detail)
                continue
            yield Utterance(
                key=key,
                split=split or ("train" if subset.startswith("train-") else subset),
                audio=AudioFile(path=folder / f"{key}.flac"),
                text=texts[key],
                speaker=speaker,
                language=language,
                domain=domain,
            )
