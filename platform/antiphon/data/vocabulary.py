"""Shards -> tokenizer: the texts and pronunciations of some splits, read once; a tokenizer that is there is kept."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from antiphon.data.manifest import read_manifest, read_rows
from antiphon.data.shards import read_sample
from antiphon.text.tokenizer import ModelType, Pronunciation, Tokenizer, train_tokenizer


def make_tokenizer(
    folders: Sequence[Path],
    out: Path,
    *,
    vocab_size: int,
    model_type: ModelType = "unigram",
    splits: Sequence[str] = ("train", "text"),
) -> Tokenizer:
    """Train on the splits of SHARDS/<corpus> folders and save; does nothing when `out` was made from the same input.

    Splits that a folder lacks are passed over. Raises ValueError when no folder has a text in any of them.
    """
    origin: dict[str, Any] = {
        "shards": {manifest.corpus: manifest.manifest_sha256 for manifest in map(read_manifest, folders)},
        "splits": list(splits),
        "vocab_size": vocab_size,
        "model_type": model_type,
    }
    if (out / "tokenizer.json").exists() and (found := Tokenizer.load(out)).origin == origin:
        return found
    texts: list[str] = []
    pronunciations: list[tuple[str, Pronunciation]] = []
    for text, phones in _spoken(folders, splits):
        texts.append(text)
        if phones is not None:
            pronunciations.append((text, phones))
    if not texts:
        where = ", ".join(map(str, folders))
        raise ValueError(f"{where} must hold texts in the splits {', '.join(splits)}, but hold none; give other splits")
    tokenizer = train_tokenizer(texts, pronunciations, vocab_size=vocab_size, model_type=model_type, origin=origin)
    tokenizer.save(out)
    return tokenizer


def _spoken(folders: Sequence[Path], splits: Sequence[str]) -> Iterator[tuple[str, Pronunciation | None]]:
    """(normalised text, its phones) of every row that has a text; a row's span is read and checked."""
    columns = ["key", "split", "shard", "offset", "bytes", "crc32", "text"]
    for folder in folders:
        for row in read_rows(folder, columns).to_pylist():
            if row["split"] in splits and row["text"]:
                span = (folder / row["shard"], row["offset"], row["bytes"])
                yield row["text"], read_sample(*span, key=row["key"], crc32=row["crc32"])[0].phones
