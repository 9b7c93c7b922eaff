"""Ingest: the same bytes however it is run and however often it is killed; nothing dropped without a reason."""

import fcntl
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import soundfile

from antiphon.audio.mel import AudioSpec
from antiphon.audio.waveform import AudioFile, decode_flac, write_wav
from antiphon.data.build import IngestConfig, is_built, plan_ingest
from antiphon.data.ingest import READERS, ingest, read_corpus
from antiphon.data.manifest import read_manifest, read_rows
from antiphon.data.shards import read_sample
from antiphon.data.utterance import MANIFEST_SCHEMA, Reject, Utterance
from antiphon.data.verify import verify
from antiphon.files import read_json, sha256

Tones = Callable[..., Path]
PATTERN = r"(?P<text>[a-z]+)_(?P<speaker>[a-z]+)_\d+"
CONFIG = IngestConfig(corpus="tones", samples_per_shard=4, phonemes=False)


def options(folder: Path) -> dict[str, Any]:
    return {"path": folder, "pattern": PATTERN, "split": ["test:_[0-2]$"]}


def hashes(out: Path) -> dict[str, str]:
    return {path.relative_to(out).as_posix(): sha256(path) for path in sorted(out.rglob("*")) if path.is_file()}


def test_what_goes_in_comes_out(tones: Tones, tmp_path: Path) -> None:
    folder = tones(10)
    report = ingest("folder", options(folder), tmp_path / "out", CONFIG, progress=False)
    rows = read_rows(tmp_path / "out")
    assert rows.schema.equals(MANIFEST_SCHEMA)
    assert report.manifest.counts == {"test": {"paired": 3}, "train": {"paired": 7}}
    assert (report.built, report.reused) == (3, 0)
    table = rows.to_pylist()
    assert [(r["split"], r["shard"], r["offset"]) for r in table] == sorted(
        (r["split"], r["shard"], r["offset"]) for r in table
    )
    assert {r["key"]: (r["text"], r["speaker"]) for r in table}["three_b_3"] == ("three", "b")
    for row in table:
        sample, flac = read_sample(
            tmp_path / "out" / row["shard"], row["offset"], row["bytes"], key=row["key"], crc32=row["crc32"]
        )
        assert flac is not None
        wave = decode_flac(flac)
        assert (wave.sample_rate, len(wave.samples), row["seconds"]) == (16_000, 3_200, pytest.approx(0.2))
        assert (sample.text, sample.speaker, sample.source) == (row["text"], row["speaker"], row["source"])
        original, _ = soundfile.read(sample.source)
        spectrum = np.abs(np.fft.rfft(wave.samples)), np.abs(np.fft.rfft(original, 1_600))
        assert spectrum[0].argmax() == spectrum[1].argmax()  # 0.2 s each: bins of 5 Hz in both
    assert verify(tmp_path / "out", deep=True) == []
    assert "kept 10, rejected 0" in str(report)


def test_a_second_run_does_nothing_and_another_folder_gets_the_same_bytes(tones: Tones, tmp_path: Path) -> None:
    folder = tones(9)
    ingest("folder", options(folder), tmp_path / "a", CONFIG, progress=False)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")}
    again = ingest("folder", options(folder), tmp_path / "a", CONFIG, progress=False)
    assert again.built == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "a").rglob("*")} == before
    ingest("folder", options(folder), tmp_path / "b", CONFIG, progress=False)
    assert hashes(tmp_path / "a") == hashes(tmp_path / "b")


def in_child(work: Callable[[], object], kill_after_sec: float | None = None) -> bool:
    """Run work in a forked process, SIGKILLed after a while if it still runs; whether it ended by itself, well."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    if kill_after_sec is not None:
        time.sleep(kill_after_sec)
        os.kill(pid, signal.SIGKILL)
    return os.waitpid(pid, 0)[1] == 0


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_kills_at_random_moments_change_no_byte(tones: Tones, tmp_path: Path, kills: int) -> None:
    folder, clean = tones(24), tmp_path / "clean"
    ingest("folder", options(folder), clean, CONFIG, progress=False)
    start = time.monotonic()
    assert in_child(lambda: ingest("folder", options(folder), tmp_path / "timed", CONFIG, progress=False))
    whole_sec = time.monotonic() - start
    generator, killed, expected = random.Random(5), 0, hashes(clean)
    for attempt in range(5 * kills):
        out = tmp_path / f"out{attempt}"
        for _ in range(4):  # each run gets a little further, the last ones find it finished
            moment = generator.uniform(0, whole_sec)
            killed += not in_child(
                lambda out=out: ingest("folder", options(folder), out, CONFIG, progress=False), moment
            )
        ingest("folder", options(folder), out, CONFIG, progress=False)
        assert hashes(out) == expected
        if killed >= kills:
            break
    assert killed >= kills


def test_a_kill_on_either_side_of_every_rename_changes_no_byte(tones: Tones, tmp_path: Path) -> None:
    """The moments that matter: just before and just after a file appears under its name."""
    folder, clean, rename = tones(6), tmp_path / "clean", os.replace
    ingest("folder", options(folder), clean, CONFIG, progress=False)
    num_files = len(hashes(clean))

    def killed_at(number: int, before: bool, out: Path) -> None:
        seen = 0

        def replace_or_die(source: Any, target: Any) -> None:
            nonlocal seen
            seen += 1
            if seen == number and before:
                os.kill(os.getpid(), signal.SIGKILL)
            rename(source, target)
            if seen == number:
                os.kill(os.getpid(), signal.SIGKILL)

        os.replace = replace_or_die  # type: ignore[assignment]  # in the child alone
        ingest("folder", options(folder), out, CONFIG, progress=False)

    for number in range(1, num_files + 1):
        for before in (True, False):
            out = tmp_path / f"{number}{before}"
            assert not in_child(lambda number=number, before=before, out=out: killed_at(number, before, out))
            ingest("folder", options(folder), out, CONFIG, progress=False)
            assert hashes(out) == hashes(clean), (number, before)


@pytest.mark.ray
def test_ray_tasks_write_the_bytes_of_one_process(tones: Tones, tmp_path: Path, ray_cluster: None) -> None:
    folder = tones(24)
    ingest("folder", options(folder), tmp_path / "one", CONFIG, progress=False)
    report = ingest("folder", options(folder), tmp_path / "two", CONFIG, workers=2, progress=False)
    assert report.built == len(report.manifest.shards) > 4
    assert hashes(tmp_path / "one") == hashes(tmp_path / "two")


def test_a_change_of_the_corpus_rebuilds_what_it_touches_and_deletes_the_rest(tones: Tones, tmp_path: Path) -> None:
    folder, out = tones(11), tmp_path / "out"
    ingest("folder", options(folder), out, CONFIG, progress=False)
    other = out / "train" / "mine.tar"
    other.write_text("not ours to delete")
    changed = sorted(folder.glob("*_[0-2].wav"))[0]  # in the test split
    write_wav(changed, np.full(1_600, 0.1, np.float32), 8_000)
    report = ingest("folder", options(folder), out, CONFIG, progress=False)
    assert (report.built, report.reused, report.deleted) == (1, 2, 2)
    other.unlink()
    ingest("folder", options(folder), tmp_path / "fresh", CONFIG, progress=False)
    assert hashes(out) == hashes(tmp_path / "fresh")


def test_what_a_shard_does_not_depend_on_keeps_it(tones: Tones, tmp_path: Path) -> None:
    """Another mel keeps the audio; another rate does not. Both change the manifest."""
    folder, out = tones(8), tmp_path / "out"
    first = ingest("folder", options(folder), out, CONFIG, progress=False)
    mel = ingest("folder", options(folder), out, replace(CONFIG, audio=AudioSpec(num_mels=40)), progress=False)
    assert (mel.built, mel.manifest.shards, mel.manifest.audio.num_mels) == (0, first.manifest.shards, 40)
    slow = ingest("folder", options(folder), out, replace(CONFIG, audio=AudioSpec(sample_rate=8_000)), progress=False)
    assert slow.built == len(slow.manifest.shards)


def lend(monkeypatch: pytest.MonkeyPatch, records: list[Utterance | Reject]) -> None:
    """Make `records` a corpus that `ingest("lent", {}, ...)` reads."""
    module = type("lent", (), {"read": staticmethod(lambda: iter(records))})
    monkeypatch.setitem(READERS, "lent", "lent")
    monkeypatch.setitem(sys.modules, "lent", module)


def test_every_reject_has_its_reason_and_no_one_is_lost(
    tones: Tones, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = sorted(tones(4).iterdir())
    (tmp_path / "empty.wav").write_bytes(b"")
    write_wav(tmp_path / "short.wav", np.full(100, 0.1, np.float32), 8_000)
    write_wav(tmp_path / "long.wav", np.full(8_000 * 3, 0.1, np.float32), 8_000)
    write_wav(tmp_path / "zeros.wav", np.zeros(8_000, np.float32), 8_000)

    def paired(key: str, path: Path, text: str = "one two") -> Utterance:
        return Utterance(key=key, split="train", audio=AudioFile(path=path), text=text)

    records = [
        *(paired(f"good{row}", path) for row, path in enumerate(files)),
        paired("good0", files[1]),
        paired("gone", tmp_path / "gone.wav"),
        paired("empty", tmp_path / "empty.wav"),
        paired("short", tmp_path / "short.wav"),
        paired("long", tmp_path / "long.wav"),
        paired("zeros", tmp_path / "zeros.wav"),
        paired("dots", files[0], text="... !"),
        Reject(key="reader", reason="missing_text", detail="the reader knew"),
        Utterance(key="spoken", split="train", audio=AudioFile(path=files[2])),
        Utterance(key="written", split="train", text="Only 2 words"),
    ]
    lend(monkeypatch, records)
    config = replace(CONFIG, max_sec=2.0, max_reject_share=0.6)
    report = ingest("lent", {}, tmp_path / "out", config, progress=False)
    reasons = [
        "duplicate_id",
        "empty_audio",
        "empty_text",
        "missing_audio",
        "missing_text",
        "silent_audio",
        "too_long",
        "too_short",
    ]
    assert report.manifest.rejects == dict.fromkeys(reasons, 1)
    assert report.manifest.counts == {"train": {"paired": 4, "speech": 1, "text": 1}}
    table = {row["key"]: row for row in pq.read_table(tmp_path / "out/rejects.parquet").to_pylist()}
    kept = {row["key"]: row for row in read_rows(tmp_path / "out").to_pylist()}
    assert len(table) + len(kept) == len(records)
    assert str(tmp_path / "gone.wav") in table["gone"]["detail"]
    assert (kept["written"]["text"], kept["written"]["audio_sha256"], kept["written"]["seconds"]) == (
        "only two words",
        None,
        0.0,
    )
    assert (kept["spoken"]["text"], kept["spoken"]["text_sha256"]) == (None, None)
    for reason in reasons:
        assert reason in str(report)


def test_too_many_rejects_fail_with_the_table_and_a_higher_limit_goes_on(tones: Tones, tmp_path: Path) -> None:
    folder, out = tones(8), tmp_path / "out"
    for path in sorted(folder.iterdir())[:3]:
        path.write_bytes(b"")
    with pytest.raises(
        ValueError, match=r"at most 5.0% .* may be rejected, but 3 of 8 were \(37.5%\)(.|\n)*empty_audio +3"
    ):
        ingest("folder", options(folder), out, CONFIG, progress=False)
    assert pq.read_table(out / "rejects.parquet").num_rows == 3
    assert not (out / "manifest.json").exists()
    report = ingest("folder", options(folder), out, replace(CONFIG, max_reject_share=0.5), progress=False)
    assert (report.built, report.manifest.rejects) == (0, {"empty_audio": 3})


def test_one_ingest_at_a_time_writes_a_folder(tones: Tones, tmp_path: Path) -> None:
    folder, out = tones(3), tmp_path / "out"
    out.mkdir()
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    with pytest.raises(ValueError, match=r"one ingest at a time must write .*, but another is running"):
        ingest("folder", options(folder), out, CONFIG, progress=False)
    os.close(handle)
    assert ingest("folder", options(folder), out, CONFIG, progress=False).manifest.samples == 3


def test_the_plan_does_not_depend_on_the_order_of_the_reader(tones: Tones) -> None:
    records = list(read_corpus("folder", options(tones(12))))
    shuffled = random.Random(0).sample(records, len(records))
    assert plan_ingest(records, CONFIG) == plan_ingest(shuffled, CONFIG)
    kinds = {(spec.split, spec.kind, len(spec.utterances)) for spec in plan_ingest(records, CONFIG).shards}
    assert kinds == {("test", "paired", 3), ("train", "paired", 3)}


def test_a_shard_without_its_marker_or_of_another_size_is_not_finished(tones: Tones, tmp_path: Path) -> None:
    folder, out = tones(4), tmp_path / "out"
    ingest("folder", options(folder), out, CONFIG, progress=False)
    spec = plan_ingest(read_corpus("folder", options(folder)), CONFIG).shards[0]
    assert is_built(spec, out)
    tar = out / spec.path
    tar.write_bytes(tar.read_bytes()[:-1])
    assert not is_built(spec, out)
    assert ingest("folder", options(folder), out, CONFIG, progress=False).built == 1
    (out / spec.marker).unlink()
    assert not is_built(spec, out)


class Speaker:
    """An audio source that knows what it says and when, as a synthesiser does."""

    def __init__(self, times: tuple[tuple[float, float], ...]) -> None:
        self.times, self.uri = times, "made:tone"

    def fingerprint(self) -> str:
        return repr(self.times)

    def read(self) -> Any:
        from antiphon.audio.recording import Waveform

        samples = np.sin(np.arange(4_000) / 7).astype(np.float32)
        return Waveform(samples=samples, sample_rate=16_000, phones=(("T", "UW"),), phone_times=self.times)


def test_spoken_phones_and_their_times_come_before_the_corpus_and_the_lexicon(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lexicon = tmp_path / "lexicon.txt"
    lexicon.write_text("TWO\tL EH1 K\n\nTWO\tS EH K\n \nWORD\tW ER1 D\n")
    files = Path(tmp_path / "x.wav")
    write_wav(files, np.sin(np.arange(4_000) / 7).astype(np.float32), 16_000)
    audio = AudioFile(path=files)
    lend(
        monkeypatch,
        [
            Utterance(key="a", split="s", audio=Speaker(((0.0, 0.1), (0.1, 0.2))), text="2", phones=(("C", "O"),)),
            Utterance(key="b", split="s", audio=audio, text="two", phones=(("C", "O", "R"),)),
            Utterance(key="c", split="s", audio=audio, text="two"),
            Utterance(key="d", split="s", audio=audio, text="two word", phones=(("C",),)),  # one word of two: not used
            Utterance(key="e", split="s", audio=Speaker(((0.0, 0.1),)), text="two"),
            Utterance(key="f", split="s", audio=audio, text="слово", language="ru"),
        ],
    )
    config = replace(CONFIG, phonemes=True, lexicon=lexicon, max_reject_share=0.5, samples_per_shard=99)
    report = ingest("lent", {}, tmp_path / "out", config, progress=False)
    rows = read_rows(tmp_path / "out").to_pylist()
    samples = {r["key"]: read_sample(tmp_path / "out" / r["shard"], r["offset"], r["bytes"])[0] for r in rows}
    assert samples["a"].phones == (("T", "UW"),)
    assert samples["a"].phone_times == ((0.0, 0.1), (0.1, 0.2))
    assert samples["b"].phones == (("C", "O", "R"),)
    assert samples["c"].phones == (("L", "EH", "K"),)
    assert samples["d"].phones == (("L", "EH", "K"), ("W", "ER", "D"))
    assert {r["key"]: r["num_phones"] for r in rows} == {"a": 2, "b": 3, "c": 3, "d": 6}
    assert report.manifest.rejects == {"no_pronunciation": 1, "phone_times_mismatch": 1}


def test_names_that_are_no_text_are_kept(tmp_path: Path, tones: Tones) -> None:
    folder = tones(2)
    os.rename(sorted(folder.iterdir())[0], os.fsencode(folder) + b"/\xff\xfe.wav")
    report = ingest("folder", {"path": folder, "pattern": ".*"}, tmp_path / "out", CONFIG, progress=False)
    assert report.manifest.samples == 2
    assert verify(tmp_path / "out", deep=True) == []


def test_an_unknown_reader_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"reader must be one of .*, but is 'kalid'; did you mean kaldi"):
        read_corpus("kalid", {})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"samples_per_shard": 0}, "samples_per_shard and texts_per_shard must be 1 or more, but are 0 and 20000"),
        ({"min_sec": 5.0, "max_sec": 2.0}, r"min_sec must be 0 or more and under max_sec, but they are 5.0 and 2.0"),
        ({"lexicon": Path("nowhere.txt")}, r"lexicon must be a file, but nowhere.txt is none"),
    ],
)
def test_settings_that_cannot_hold_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(CONFIG, **fields)


def test_several_paths_are_one_corpus(tmp_path: Path) -> None:
    for name in ("train", "dev"):
        (tmp_path / f"{name}.csv").write_text(f"id,text\n{name}1,hello\n")
    found = list(read_corpus("table", {"path": (tmp_path / "train.csv", tmp_path / "dev.csv")}))
    assert [(u.key, u.split) for u in found if isinstance(u, Utterance)] == [("train1", "train"), ("dev1", "dev")]


def test_wrong_options_and_paths_are_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"the reader kaldi takes path, split, .*, but: .*unexpected.*'splt'"):
        read_corpus("kaldi", {"path": tmp_path, "splt": "x"})
    with pytest.raises(ValueError, match=r"the reader folder takes path, pattern, .*, but: missing .*'pattern'"):
        read_corpus("folder", {"path": tmp_path})
    with pytest.raises(ValueError, match=r"a corpus must be at .*nowhere, but nothing is there; check the path"):
        read_corpus("kaldi", {"path": tmp_path / "nowhere"})


def test_the_markers_and_the_manifest_say_the_same(tones: Tones, tmp_path: Path) -> None:
    ingest("folder", options(tones(10)), tmp_path / "out", CONFIG, progress=False)
    manifest = read_manifest(tmp_path / "out")
    for shard in manifest.shards:
        marker = read_json((tmp_path / "out" / shard.path).with_suffix(".json"))
        assert (marker["sha256"], marker["bytes"], marker["samples"]) == (shard.sha256, shard.bytes, shard.samples)
        assert sha256(tmp_path / "out" / shard.path) == shard.sha256
    assert sum(manifest.hours.values()) == pytest.approx(10 * 0.2 / 3600)
    assert manifest.manifest_sha256 == sha256(tmp_path / "out/manifest.parquet")


def test_real_speech_is_kept_whole(shared_data: Path, tmp_path: Path) -> None:
    config = IngestConfig(corpus="read_english")
    report = ingest("kaldi", {"path": shared_data / "read_english"}, tmp_path / "out", config, progress=False)
    assert report.manifest.counts == {"test": {"paired": 240}, "train": {"paired": 560}}
    assert report.manifest.rejects == {"missing_text": 3}
    keys = pq.read_table(tmp_path / "out/rejects.parquet").column("key").to_pylist()
    assert all(key.startswith("0960") for key in keys)


def test_hostile_files_take_no_healthy_one_with_them(shared_data: Path, tones: Tones, tmp_path: Path) -> None:
    folder = tones(10)
    for path in (shared_data / "hostile_audio").iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    config = replace(CONFIG, max_reject_share=0.2)
    report = ingest(
        "folder", {"path": folder, "pattern": r"(?P<text>[a-z]+|2020).*"}, tmp_path / "out", config, progress=False
    )
    kept = set(read_rows(tmp_path / "out", ["source"]).column("source").to_pylist())
    assert report.manifest.rejects == {"absurd_header": 1, "empty_audio": 1, "text_pointer": 2, "unreadable_header": 2}
    assert report.manifest.samples == 10 + 20  # 14 half-broken and 3 healthy FLACs, mp3, opus, sph
    assert set(map(str, folder.glob("alexa_*"))) <= kept
    assert verify(tmp_path / "out", deep=True) == []
