"""Utterance: the record that a corpus reader yields, a shard stores and the manifest lists.

Reader -> `Utterance` (audio still to be read) -> ingest -> `Sample` in a tar -> one row of `manifest.parquet`.
"""

from dataclasses import dataclass
from typing import Literal, Protocol

import pyarrow as pa

from antiphon.audio.recording import PhoneTimes, Waveform

Kind = Literal["paired", "speech", "text"]
KINDS: tuple[Kind, ...] = ("speech", "text", "paired")

# The phones of each word of the normalised text, ARPAbet without stress unless the corpus has its own inventory.
Pronunciation = tuple[tuple[str, ...], ...]


class AudioSource(Protocol):
    """Where audio comes from: a file, a stretch of a file, a synthesiser. Picklable, cheap until read."""

    @property
    def uri(self) -> str:
        """A name for people: a path, or `espeak-ng:<voice>`."""

    def fingerprint(self) -> str:
        """Changes when the audio does, costs no decoding: a file's size and both ends, a synthesiser's parameters."""

    def read(self) -> Waveform:
        """Decode, at the source's own rate. Raises AudioError with a reason."""


@dataclass(frozen=True, kw_only=True)
class Utterance:
    """One utterance as a corpus reader yields it: audio, text or both. `key` is unique in its corpus."""

    key: str
    split: str  # "train", "dev", "test", ...: the reader's word for it
    audio: AudioSource | None = None
    text: str | None = None  # as the corpus writes it; ingest normalises
    phones: Pronunciation | None = None  # where the corpus has them
    speaker: str = ""
    language: str = "en"
    domain: str = ""

    @property
    def kind(self) -> Kind:
        """paired has audio and text; speech has audio only; text has text only."""
        if self.audio is None:
            return "text"
        return "speech" if self.text is None else "paired"


@dataclass(frozen=True, kw_only=True)
class Reject:
    """One utterance that was not kept, and why: `reason` a short fixed name, `detail` a sentence with the file."""

    key: str
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One utterance as a shard stores it: `<key>.json` holds these fields, `<key>.flac` the audio if any."""

    key: str
    text: str | None  # normalised
    phones: Pronunciation | None
    phone_times: PhoneTimes | None
    seconds: float  # 0.0 for text only
    speaker: str
    language: str
    domain: str
    source: str  # AudioSource.uri, or "" for text only


MANIFEST_VERSION = 1

# One row a sample, sorted by (split, shard, offset). `shard` is relative to the manifest's folder; (offset, bytes) span
# all members of the sample inside the tar, headers included.
MANIFEST_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("split", pa.string()),
        ("kind", pa.string()),
        ("shard", pa.string()),
        ("offset", pa.int64()),
        ("bytes", pa.int64()),
        ("seconds", pa.float32()),
        ("num_phones", pa.int32()),  # 0 where there is no text
        ("num_chars", pa.int32()),
        ("text", pa.string()),  # normalised; null for speech only
        ("speaker", pa.string()),
        ("language", pa.string()),
        ("domain", pa.string()),
        ("source", pa.string()),
        ("audio_sha256", pa.string()),  # of the FLAC member; null for text only
        ("text_sha256", pa.string()),  # of the normalised text; null for speech only
        ("crc32", pa.int64()),  # of the span (offset, bytes): a flipped byte is found when the sample is read
    ]
)
