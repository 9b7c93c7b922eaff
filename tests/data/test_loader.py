"""Batches: their contents against the samples, bit for bit whatever the threads, and damage that must be noticed."""

import shutil
import threading
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from antiphon.audio.mel import AudioSpec, log_mel
from antiphon.audio.recording import Waveform
from antiphon.audio.waveform import decode_flac
from antiphon.config import to_dict
from antiphon.data.batch import Batch
from antiphon.data.build import IngestConfig, build_shard, plan_ingest
from antiphon.data.loader import Loader, LoaderConfig, sequential
from antiphon.data.manifest import read_rows, write_manifest
from antiphon.data.plan import DataConfig, Phase, Plan, Stream, make_plan
from antiphon.data.shards import read_sample
from antiphon.data.utterance import Kind, Utterance
from antiphon.seed import derive_seed
from antiphon.text.tokenizer import Tokenizer, train_tokenizer

SIDES = ("mel", "mel_len", "tokens", "tokens_len", "phones", "phones_len", "phone_times")
CONFIG = DataConfig(
    streams={
        "speech": Stream(kind="speech", sources=("speech", "paired")),
        "paired": Stream(kind="paired"),
        "text": Stream(kind="text", splits=("text", "train"), sources=("text", "paired")),
    },
    phases=(Phase(micro_batches={"speech": 1, "paired": 2, "text": 1}),),
    max_batch_sec=12.0,
    max_batch_phones=60,
)
LEXICON = {"one": "W AH N", "two": "T UW", "three": "TH R IY", "seven": "S EH V AH N", "nine": "N AY N", "oh": "OW"}


@dataclass(frozen=True, kw_only=True)
class Hiss:
    """An AudioSource: noise that follows from its name, a third of a second a word, with phone times."""

    name: str
    text: str

    @property
    def uri(self) -> str:
        return f"hiss:{self.name}"

    def fingerprint(self) -> str:
        return self.text

    def read(self) -> Waveform:
        draw = np.random.default_rng(derive_seed(0, self.name))
        phones = pronounce(self.text)
        size = 5333 * len(phones) + int(draw.integers(0, 4000))
        edges = np.linspace(0.0, size / 16_000, sum(map(len, phones)) + 1).tolist()
        samples = (0.1 * draw.standard_normal(size)).clip(-1, 1).astype(np.float32)
        times = tuple(pairwise(edges))
        return Waveform(samples=samples, sample_rate=16_000, phones=phones, phone_times=times)


def pronounce(text: str) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(LEXICON[word].split()) for word in text.split())


@pytest.fixture(scope="module")
def made_tokenizer() -> Tokenizer:
    return train_tokenizer([" ".join(LEXICON)], [], vocab_size=15)


@pytest.fixture(scope="module")
def made_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 paired utterances (train, test), 24 of speech (train), 20 texts (text), in several shards."""
    out, draw = tmp_path_factory.mktemp("made"), np.random.default_rng(1)
    words = list(LEXICON)
    records = []
    for row in range(104):
        text = " ".join(words[pick] for pick in draw.integers(0, len(words), draw.integers(1, 9)))
        name = f"u{row:03d}"
        hiss, phones = Hiss(name=name, text=text), pronounce(text)
        if row < 60:
            split = "train" if row < 48 else "test"
            records.append(Utterance(key=name, split=split, audio=hiss, text=text, phones=phones))
        elif row < 84:
            records.append(Utterance(key=name, split="train", audio=hiss))
        else:
            records.append(Utterance(key=name, split="text", text=text, phones=phones))
    config = IngestConfig(corpus="made", samples_per_shard=16, phonemes=False)
    plan = plan_ingest(records, config)
    for spec in plan.shards:
        build_shard(spec, out, config)
    texts = dict.fromkeys(("plan", "code_version", "normalizer_version"), "")
    head = {"corpus": "made", "audio": to_dict(config.audio), "config": {}, "inputs": {}, **texts}
    write_manifest(out, [(spec.path, out / spec.marker) for spec in plan.shards], [], head, 0.0)
    return out


@pytest.fixture(scope="module")
def plan(made_shards: Path) -> Plan:
    return make_plan([made_shards], CONFIG, seed=3)


def same(one: Batch, two: Batch) -> bool:
    """Equal to the bit."""
    if (one.kind, one.keys, one.seconds) != (two.kind, two.keys, two.seconds):
        return False
    pairs = [(getattr(one, side), getattr(two, side)) for side in SIDES]
    return all((a is None and b is None) or (a is not None and torch.equal(a, b)) for a, b in pairs)


def steps(
    plan: Plan, tokenizer: Tokenizer, start: int, stop: int, rank: int = 0, world: int = 1, **config: float
) -> list:
    with Loader(plan, tokenizer, AudioSpec(), LoaderConfig(**config)) as loader:  # type: ignore[arg-type]
        return list(loader.steps(start, stop, rank=rank, world=world))


def test_threads_prefetch_and_cache_change_no_bit(plan: Plan, made_tokenizer: Tokenizer) -> None:
    want = steps(plan, made_tokenizer, 0, 30, cache_gb=0.0)
    assert len(want) == 30
    for config in ({"threads": 4, "prefetch": 9}, {"threads": 2, "prefetch": 0, "cache_gb": 0.0003}):
        found = steps(plan, made_tokenizer, 0, 30, **config)
        for one, two in zip(want, found, strict=True):
            assert [index for index, _ in one] == [index for index, _ in two] == [0, 1, 2, 3]
            assert all(same(a, b) for (_, a), (_, b) in zip(one, two, strict=True))


def test_ranks_together_have_what_one_worker_has(plan: Plan, made_tokenizer: Tokenizer) -> None:
    whole = steps(plan, made_tokenizer, 5, 12)
    parts = [steps(plan, made_tokenizer, 5, 12, rank=rank, world=3) for rank in range(3)]
    for row, group in enumerate(whole):
        joined = dict(pair for part in parts for pair in part[row])
        assert sum(len(part[row]) for part in parts) == len(group)
        assert all(same(joined[index], batch) for index, batch in group)


def test_a_loader_that_starts_later_goes_on_the_same(plan: Plan, made_tokenizer: Tokenizer) -> None:
    batches_an_epoch = plan.orders["paired"].num_batches
    whole = steps(plan, made_tokenizer, 0, batches_an_epoch)  # two paired micro-batches a step: two epochs
    later = steps(plan, made_tokenizer, 3, batches_an_epoch, threads=2)
    assert all(
        same(a, b) for one, two in zip(whole[3:], later, strict=True) for (_, a), (_, b) in zip(one, two, strict=True)
    )


def test_batches_hold_what_the_shards_hold(plan: Plan, made_shards: Path, made_tokenizer: Tokenizer) -> None:
    rows = {row["key"]: row for row in read_rows(made_shards).to_pylist()}
    for group in steps(plan, made_tokenizer, 0, 40):
        for _, batch in group:
            present = {side for side in SIDES if getattr(batch, side) is not None}
            text_sides = {"tokens", "tokens_len", "phones", "phones_len"}
            wanted: dict[Kind, set[str]] = {
                "speech": {"mel", "mel_len"},
                "text": text_sides,
                "paired": {"mel", "mel_len", "phone_times", *text_sides},
            }
            assert present == wanted[batch.kind]
            for row, key in enumerate(batch.keys):
                known = rows[key]
                if batch.mel is not None and batch.mel_len is not None:
                    frames = AudioSpec().num_frames(round(known["seconds"] * 16_000))
                    assert int(batch.mel_len[row]) == frames
                    assert not batch.mel[row, frames:].any()
                if batch.tokens is not None and batch.tokens_len is not None and batch.phones_len is not None:
                    real = batch.tokens[row, : int(batch.tokens_len[row])]
                    assert made_tokenizer.decode(real.tolist()) == known["text"]
                    assert int(batch.phones_len[row]) == known["num_phones"]
                if batch.phone_times is not None and batch.phones_len is not None:
                    assert float(batch.phone_times[row, int(batch.phones_len[row]) - 1, 1]) == pytest.approx(
                        known["seconds"], abs=1e-4
                    )
            if batch.mel is not None:
                assert batch.seconds == pytest.approx(sum(rows[key]["seconds"] for key in batch.keys), abs=1e-3)


def test_features_are_those_of_the_recording(made_shards: Path, made_tokenizer: Tokenizer) -> None:
    listed = {row["key"]: row for row in read_rows(made_shards).to_pylist()}
    batch = next(sequential(made_shards, made_tokenizer, AudioSpec(), split="test"))
    mel, mel_len = batch.side("mel")
    for row, key in enumerate(batch.keys):
        at = listed[key]
        _, flac = read_sample(made_shards / at["shard"], at["offset"], at["bytes"])
        assert flac is not None
        want = log_mel(torch.from_numpy(decode_flac(flac).samples), AudioSpec())
        assert torch.equal(mel[row, : int(mel_len[row])], want)


@pytest.mark.parametrize("max_batch_sec", [0.5, 6.0, 1e9])
def test_sequential_gives_each_row_once_within_the_caps(
    made_shards: Path, made_tokenizer: Tokenizer, max_batch_sec: float
) -> None:
    table = read_rows(made_shards, ["key", "split", "kind", "shard", "seconds"]).to_pylist()
    want = sorted(row["key"] for row in table if row["split"] == "train")
    batches = list(
        sequential(
            made_shards, made_tokenizer, AudioSpec(), split="train", max_batch_sec=max_batch_sec, max_batch_samples=5
        )
    )
    assert sorted(key for batch in batches for key in batch.keys) == want
    seconds = {row["key"]: row["seconds"] for row in table}
    for batch in batches:
        assert len(batch) <= 5
        assert len(batch) == 1 or max(seconds[key] for key in batch.keys) * len(batch) <= max_batch_sec
    shard = next(row["shard"] for row in table if row["split"] == "train")
    some = sequential(made_shards, made_tokenizer, AudioSpec(), split="train", shards=[shard])
    assert {key for batch in some for key in batch.keys} == {row["key"] for row in table if row["shard"] == shard}
    with pytest.raises(ValueError, match="holds none"):
        next(sequential(made_shards, made_tokenizer, AudioSpec(), split="train", shards=[]))
    with pytest.raises(ValueError, match=r"it has .*'text': \{'text': 20\}"):
        next(sequential(made_shards, made_tokenizer, AudioSpec(), split="dev"))


def test_another_audio_spec_is_refused(plan: Plan, made_shards: Path, made_tokenizer: Tokenizer) -> None:
    other = AudioSpec(num_mels=64, hop_samples=200)
    with pytest.raises(ValueError, match=r"num_mels is 64 in the model but 80"):
        Loader(plan, made_tokenizer, other)
    with pytest.raises(ValueError, match=r"hop_samples is 200 in the model but 160"):
        next(sequential(made_shards, made_tokenizer, other, split="test"))


def test_any_flipped_byte_of_a_span_is_noticed(made_shards: Path, made_tokenizer: Tokenizer, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made_shards, copy)
    row = next(row for row in read_rows(copy).to_pylist() if row["split"] == "test")
    path = copy / row["shard"]
    sound = path.read_bytes()
    for place in np.random.default_rng(0).integers(row["offset"], row["offset"] + row["bytes"], 12):
        damaged = bytearray(sound)
        damaged[place] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=path.name):
            list(sequential(copy, made_tokenizer, AudioSpec(), split="test"))
    path.write_bytes(sound[: row["offset"] + 100])
    with pytest.raises(ValueError, match="ends after"):
        list(sequential(copy, made_tokenizer, AudioSpec(), split="test"))
    path.unlink()
    with pytest.raises(ValueError, match="must exist"):
        list(sequential(copy, made_tokenizer, AudioSpec(), split="test"))


def test_an_error_in_a_thread_comes_at_its_step_and_leaves_no_thread(
    made_shards: Path, made_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(made_shards, copy)
    plan = make_plan([copy], CONFIG, seed=3)
    row = read_rows(copy).to_pylist()[int(plan.step(6)[1].rows[0])]
    path = copy / row["shard"]
    damaged = bytearray(path.read_bytes())
    damaged[row["offset"] + 700] ^= 1
    path.write_bytes(damaged)
    done = []
    with Loader(plan, made_tokenizer, AudioSpec(), LoaderConfig(threads=2)) as loader:
        groups = loader.steps(0)
        with pytest.raises(ValueError, match="CRC-32"):
            done += groups
    assert len(done) <= 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def test_a_tokenizer_of_other_texts_is_refused_with_the_name_of_the_sample(made_shards: Path) -> None:
    strange = train_tokenizer(["日本 語"], [], vocab_size=6)
    with pytest.raises(ValueError, match=r"sample u0\d\d of .*: a text must hold at least one character"):
        next(sequential(made_shards, strange, AudioSpec(), split="test"))
