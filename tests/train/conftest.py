"""Lets the tests of this folder, and what they start, import toy.py and toycorpus.py; ingests the latter."""

import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@dataclass(frozen=True)
class Inputs:
    """Finished stages that a training reads."""

    shards: Path
    tokenizer: Path


@pytest.fixture(scope="session")
def beeps(tmp_path_factory: pytest.TempPathFactory) -> Inputs:
    """The corpus of toycorpus.py, ingested, and a tokenizer of it."""
    import toycorpus

    from antiphon.data import ingest
    from antiphon.text.tokenizer import train_tokenizer

    folder = tmp_path_factory.mktemp("beeps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ingest.READERS, "beeps", "toycorpus")
        config = ingest.IngestConfig(corpus="beeps", samples_per_shard=20)
        ingest.ingest("beeps", {}, folder / "shards", config, progress=False)
    said = [(one.text or "", one.phones or ()) for one in toycorpus.read()]
    train_tokenizer([text for text, _ in said], said, vocab_size=20).save(folder / "tokenizer")
    return Inputs(shards=folder / "shards", tokenizer=folder / "tokenizer")
