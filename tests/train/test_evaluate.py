"""Evaluation against a recogniser whose mistakes are known, and the whole of it on a small trained model."""

import numpy as np
import pytest
import torch
from torch import Tensor

from antiphon.config import from_dict, to_dict
from antiphon.data.batch import Batch, pad
from antiphon.decoding.greedy import Hypothesis
from antiphon.text.tokenizer import Tokenizer, train_tokenizer
from antiphon.train.evaluate import EvalReport, score, summarise, timing_errors

ROWS = {"a": ("one two", "read"), "b": ("three", "phone"), "c": ("one", "phone")}
PHONES = {"one": ("W", "AH", "N"), "two": ("T", "UW"), "three": ("TH", "R", "IY")}
STARTS = [[0.2, 0.28, 0.4, 0.52, 0.6], [0.04, 0.12, 0.2], [0.0, 0.08, 0.24]]


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    texts = [text for text, _ in ROWS.values()] * 9
    spoken = [(text, tuple(PHONES[word] for word in text.split())) for text in texts]
    return train_tokenizer(texts, spoken, vocab_size=12)


@pytest.fixture
def batch(tokenizer: Tokenizer) -> Batch:
    texts = [text for text, _ in ROWS.values()]
    spoken = [tuple(PHONES[word] for word in text.split()) for text in texts]
    phones, phones_len = pad([torch.tensor(tokenizer.encode_phones(words)) for words in spoken])
    times, _ = pad([torch.tensor([(start, start + 0.04) for start in row]) for row in STARTS])
    mel, mel_len = pad([torch.zeros(count, 4) for count in (90, 60, 50)])
    return Batch(
        kind="paired",
        keys=tuple(ROWS),
        seconds=2.0,
        mel=mel,
        mel_len=mel_len,
        phones=phones,
        phones_len=phones_len,
        phone_times=times,
    )


class Oracle:
    """Hears what it is told; its frames are 40 ms, its alignment is late by some, its durations are always 2."""

    frame_sec = 0.04

    def __init__(self, tokenizer: Tokenizer, heard: list[str], late: int) -> None:
        self.tokenizer, self.heard, self.late = tokenizer, heard, late

    def transcribe(self, batch: Batch) -> list[Hypothesis]:
        return [Hypothesis(tokens=self.tokenizer.encode(text), frames=[], score=0.0) for text in self.heard]

    def recognize_phones(self, batch: Batch) -> list[Hypothesis]:
        phones, lengths = batch.side("phones")
        cut = [row[: int(size) - 1].tolist() for row, size in zip(phones, lengths, strict=True)]  # loses the last one
        return [Hypothesis(tokens=row, frames=[], score=0.0) for row in cut]

    def align(self, batch: Batch) -> Tensor:
        assert batch.phone_times is not None
        return (batch.phone_times[:, :, 0] / self.frame_sec).round().long() + self.late

    def predict_durations(self, batch: Batch) -> Tensor:
        return torch.full_like(batch.side("phones")[0], 2)


def report_of(tokenizer: Tokenizer, batch: Batch, heard: list[str], late: int) -> EvalReport:
    model = Oracle(tokenizer, heard, late)
    timing = {name: [values] for name, values in timing_errors(model, batch).items()}
    return summarise(
        score(model, tokenizer, batch, ROWS),
        timing,
        fingerprint="f",
        step=3,
        splits=("test",),
        shards={"toy": "hash"},
        normalizer="1",
    )


def test_rates_by_domain_by_hand(tokenizer: Tokenizer, batch: Batch) -> None:
    report = report_of(tokenizer, batch, ["one two", "two one", "one"], late=0)
    phone, read = report.domains
    assert (phone.name, phone.utterances, read.name, read.utterances) == ("phone", 2, "read", 1)
    assert (phone.words.substitutions, phone.words.insertions, phone.words.deletions) == (1, 1, 0)
    assert (phone.wer, read.wer, report.overall.wer) == (1.0, 0.0, 0.5)  # 2 of 2, 0 of 2, 2 of 4 words
    assert report.mean_wer == 0.5
    assert (phone.per, read.per) == (pytest.approx(2 / 6), pytest.approx(1 / 5))  # one phone lost in each
    assert report.worst[0].key == "b"
    assert report.worst[0].hypothesis == "two one"
    assert report.overall.hours == pytest.approx(2 / 3600)
    assert phone.wer_interval == (0.0, 2.0)


def test_boundaries_and_durations_by_hand(tokenizer: Tokenizer, batch: Batch) -> None:
    exact = report_of(tokenizer, batch, ["one"] * 3, late=0)
    assert exact.boundary is not None
    assert (exact.boundary.count, exact.boundary.median_ms) == (11, pytest.approx(0, abs=1e-3))
    late = report_of(tokenizer, batch, ["one"] * 3, late=2)
    assert late.boundary is not None
    assert late.aligned_duration is not None
    assert (late.boundary.median_ms, late.boundary.bias_ms) == (pytest.approx(80), pytest.approx(80))
    # Late by the same everywhere: only the first durations, which begin at 0, are off.
    assert late.aligned_duration.count == 8
    assert late.aligned_duration.median_ms == pytest.approx(0, abs=1e-3)
    assert late.predicted_duration is not None
    true = [0.28, 0.12, 0.12, 0.08, 0.12, 0.08, 0.08, 0.16]
    want = np.abs(np.array(true) - 0.08) * 1000
    assert late.predicted_duration.median_ms == pytest.approx(np.median(want), abs=1e-3)
    assert late.predicted_duration.p90_ms == pytest.approx(np.quantile(want, 0.9), abs=1e-3)


def test_padding_is_not_measured(tokenizer: Tokenizer, batch: Batch) -> None:
    from dataclasses import replace

    assert batch.phones is not None
    assert batch.phone_times is not None
    wider = replace(
        batch,
        phones=torch.nn.functional.pad(batch.phones, (0, 3), value=7),
        phone_times=torch.nn.functional.pad(batch.phone_times, (0, 0, 0, 3), value=99.0),
    )
    heard = ["one two", "three", "one"]
    assert report_of(tokenizer, wider, heard, late=1) == report_of(tokenizer, batch, heard, late=1)


def test_the_report_is_plain_values_and_a_table(tokenizer: Tokenizer, batch: Batch) -> None:
    report = report_of(tokenizer, batch, ["one two", "two one", "one"], late=1)
    assert from_dict(EvalReport, to_dict(report)) == report
    table = report.table()
    assert [line.split()[0] for line in table.splitlines()[:4]] == ["domain", "phone", "read", "all"]
    assert "median 40 ms" in table
    assert "normaliser 1" in table
