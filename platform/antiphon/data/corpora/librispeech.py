"""LibriSpeech's tree: <subset>/<speaker>/<chapter>/<speaker>-<chapter>.trans.txt beside <utterance>.flac."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from antiphon.audio.waveform import AudioFile
from antiphon.data.utterance import Reject, Utterance


def read(
    path: str | Path, *, subsets: Sequence[str] = (), split: str | None = None, domain: str = "", language: str = "en"
) -> Iterator[Utterance | Reject]:
    """Utterances of the subsets below `path`, all or the named ones: train-clean-100 and the like are split `train`.

    Other subsets keep their name (dev-clean, test-other) unless `split` is given. A FLAC without a line in its
    chapter's transcript is rejected as `missing_text`.
    """
    root = Path(path)
    chapters = sorted(root.glob("*/*/*/*.trans.txt"))
    wanted = [chapter for chapter in chapters if not subsets or chapter.parts[-4] in subsets]
    if not wanted:
        found = ", ".join(sorted({chapter.parts[-4] for chapter in chapters})) or "no transcripts"
        raise ValueError(
            f"{root} must hold <subset>/<speaker>/<chapter>/*.trans.txt, but holds {found}; check path and subsets"
        )
    for chapter in wanted:
        subset, speaker, folder = chapter.parts[-4], chapter.parts[-3], chapter.parent
        lines = (line.partition(" ") for line in chapter.read_text(encoding="utf-8").splitlines() if line.strip())
        texts = {key: text.strip() for key, _, text in lines}
        for key in sorted(texts.keys() | {file.stem for file in folder.glob("*.flac")}):
            if not texts.get(key):
                yield Reject(key=key, reason="missing_text", detail=f"{folder / key}.flac has no line in {chapter}")
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
