"""Cut manifests that lhotse itself writes come back as utterances; what cannot be read as a file is counted."""

from pathlib import Path

import numpy as np
import pytest

from antiphon.audio.waveform import AudioFile, write_wav
from antiphon.data.corpora.lhotse_cuts import read
from antiphon.data.utterance import Reject, Utterance

lhotse = pytest.importorskip("lhotse", reason="needs lhotse (pip install 'antiphon[corpora]')")


@pytest.fixture
def recording(tmp_path: Path):  # type: ignore[no-untyped-def]
    write_wav(tmp_path / "long.wav", np.sin(np.arange(48_000) / 9).astype(np.float32), 16_000)
    return lhotse.Recording.from_file(tmp_path / "long.wav")


def supervision(name: str, start: float, seconds: float, text: str | None = "hello") -> object:
    return lhotse.SupervisionSegment(
        id=name, recording_id="long", start=start, duration=seconds, text=text, speaker="ann", language="de"
    )


def write(tmp_path: Path, *cuts: object) -> Path:
    lhotse.CutSet.from_cuts(cuts).to_file(tmp_path / "cuts.jsonl.gz")
    return tmp_path / "cuts.jsonl.gz"


def cut(name: str, recording: object, start: float, seconds: float, *supervisions: object) -> object:
    return lhotse.MonoCut(
        id=name, start=start, duration=seconds, channel=0, recording=recording, supervisions=list(supervisions)
    )


def test_each_supervision_is_an_utterance(tmp_path: Path, recording: object) -> None:
    path = write(
        tmp_path,
        cut("whole", recording, 0.0, 3.0, supervision("s0", 0.0, 3.0)),
        cut(
            "two", recording, 1.0, 2.0, supervision("s1", 0.5, 0.5, "one"), supervision("s2", 1.5, 9.0, "over the end")
        ),
    )
    whole, one, two = read(path, split="dev", domain="d")
    audio = tmp_path / "long.wav"
    assert whole == Utterance(
        key="whole", split="dev", audio=AudioFile(path=audio), text="hello", speaker="ann", language="de", domain="d"
    )
    assert isinstance(one, Utterance)
    assert isinstance(two, Utterance)
    assert (one.key, one.audio) == ("s1", AudioFile(path=audio, start_sec=1.5, duration_sec=0.5))
    assert (two.key, two.audio) == ("s2", AudioFile(path=audio, start_sec=2.5, duration_sec=0.5))


def test_commands_addresses_changed_and_silent_cuts_are_counted(tmp_path: Path, recording) -> None:  # type: ignore[no-untyped-def]
    def of(kind: str, source: str) -> object:
        sources = [lhotse.AudioSource(type=kind, channels=[0], source=source)]
        return lhotse.Recording(id="r", sources=sources, sampling_rate=16_000, num_samples=48_000, duration=3.0)

    path = write(
        tmp_path,
        cut("command", of("command", "touch /tmp/should_never_be_there"), 0.0, 3.0, supervision("a", 0, 3)),
        cut("address", of("url", "http://localhost/x.wav"), 0.0, 3.0, supervision("b", 0, 3)),
        cut("faster", recording.perturb_speed(1.1), 0.0, 2.0, supervision("c", 0, 2)),
        cut("bare", recording, 0.0, 3.0),
        cut("mute", recording, 0.0, 3.0, supervision("d", 0, 3, None)),
        cut("good", recording, 0.0, 3.0, supervision("e", 0, 3)).pad(5.0),  # type: ignore[attr-defined]
    )
    reasons = {r.key.split("-")[0]: r.reason for r in read(path) if isinstance(r, Reject)}
    assert {reasons[name] for name in ("command", "address")} == {"unsupported_source"}
    assert reasons["faster"] == "unsupported_cut"
    assert (reasons["bare"], reasons["mute"]) == ("missing_text", "missing_text")
    assert sum(reason == "unsupported_cut" for reason in reasons.values()) == 2
