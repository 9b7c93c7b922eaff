"""What a checkpoint has learnt, measured on paired utterances: words, characters, phones, phone boundaries.

Boundaries and durations are measured where the corpus knows its phone times. The found start of a phone is the frame in
which the alignment emits it, times the seconds of a frame: as training reads it when it makes durations of alignments.
"""

import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from tqdm import tqdm

from antiphon.checkpoint import Checkpoint
from antiphon.data.batch import Batch
from antiphon.data.loader import sequential
from antiphon.data.manifest import read_manifest, read_rows
from antiphon.decoding.greedy import Hypothesis
from antiphon.metrics import Errors, add_up, bootstrap_interval, char_errors, unit_errors, word_errors
from antiphon.nn.mask import length_mask
from antiphon.text.normalize import NORMALIZER_VERSION
from antiphon.text.tokenizer import Tokenizer

Floats = npt.NDArray[np.floating]


class Recognizer(Protocol):
    """What evaluation asks of a model."""

    @property
    def frame_sec(self) -> float:
        """Seconds of an encoder frame."""

    def transcribe(self, batch: Batch) -> list[Hypothesis]:
        """Wordpieces of each utterance."""

    def recognize_phones(self, batch: Batch) -> list[Hypothesis]:
        """Phones of each utterance."""

    def align(self, batch: Batch) -> Tensor:
        """(B, P) the frame in which each phone begins."""

    def predict_durations(self, batch: Batch) -> Tensor:
        """(B, P) frames of each phone, from the text alone."""


@dataclass(frozen=True, kw_only=True)
class Scored:
    """One utterance."""

    key: str
    domain: str
    reference: str
    hypothesis: str
    seconds: float
    words: Errors
    chars: Errors
    phones: Errors


@dataclass(frozen=True, kw_only=True)
class GroupScore:
    """Sums over the utterances of one domain, or of all; rates are errors over reference units."""

    name: str
    utterances: int
    hours: float
    wer: float
    wer_interval: tuple[float, ...]  # 95 % bootstrap over utterances
    cer: float
    per: float
    words: Errors
    chars: Errors
    phones: Errors


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Absolute differences in milliseconds over `count` places; bias is the median of found - true."""

    count: int
    median_ms: float
    p90_ms: float
    bias_ms: float


@dataclass(frozen=True, kw_only=True)
class EvalReport:
    """The result; plain values by config.to_dict."""

    fingerprint: str  # of the checkpoint
    step: int
    splits: tuple[str, ...]
    shards: dict[str, str]  # corpus -> hash of its manifest
    normalizer: str  # the version both sides of every number went through
    overall: GroupScore
    mean_wer: float  # mean over domains, each counting the same
    domains: tuple[GroupScore, ...]
    boundary: Spread | None  # None where no phone times are known
    aligned_duration: Spread | None  # from one found start to the next, against the true ones
    predicted_duration: Spread | None  # the duration model's, from text alone
    worst: tuple[Scored, ...]  # those with word errors, most first

    def table(self) -> str:
        """For people: one row a domain, the boundary errors, the worst utterances."""
        heads = ("utts", 6), ("hours", 6), ("WER", 7), ("95 %", 15), ("sub/del/ins", 15), ("CER", 7), ("PER", 7)
        rows = [f"{'domain':<12} " + " ".join(f"{head:>{width}}" for head, width in heads)]
        for group in (*self.domains, self.overall):
            low, high = group.wer_interval
            w = group.words
            edits = f"{w.substitutions}/{w.deletions}/{w.insertions}"
            rows.append(
                f"{group.name:<12} {group.utterances:>6} {group.hours:>6.2f} {group.wer:>7.1%} "
                f"{low:>6.1%} - {high:>6.1%} {edits:>15} {group.cer:>7.1%} {group.per:>7.1%}"
            )
        rows.append(f"mean WER over domains {self.mean_wer:.1%}; normaliser {self.normalizer}; step {self.step}")
        for name, spread in (
            ("phone boundary", self.boundary),
            ("aligned duration", self.aligned_duration),
            ("predicted duration", self.predicted_duration),
        ):
            if spread is not None:
                rows.append(
                    f"{name} error: median {spread.median_ms:.0f} ms, 90 % below {spread.p90_ms:.0f} ms, "
                    f"bias {spread.bias_ms:+.0f} ms over {spread.count:,}"
                )
        for one in self.worst[:5]:
            rows.append(f"worst: {one.key}, {one.words.count} errors on {one.words.length} words")
            rows += [f"  said  {one.reference}", f"  heard {one.hypothesis}"]
        return "\n".join(rows)


@torch.no_grad()
def evaluate(
    found: Checkpoint,
    shards: Sequence[Path],
    *,
    splits: Sequence[str] = ("test",),
    worst: int = 20,
) -> EvalReport:
    """Measure a loaded checkpoint on all paired utterances of the splits of SHARDS/<corpus> folders.

    Raises ValueError when shards were made with another AudioSpec, or hold no such utterance.
    """
    model: Recognizer = found.model  # type: ignore[assignment]
    device = next(found.model.parameters()).device
    scored: list[Scored] = []
    timing: defaultdict[str, list[Floats]] = defaultdict(list)
    with tqdm(unit="utt", disable=not sys.stderr.isatty(), dynamic_ncols=True) as bar:
        for folder in shards:
            table = read_rows(folder, ["key", "text", "domain"]).to_pydict()
            rows = dict(zip(table["key"], zip(table["text"], table["domain"], strict=True), strict=True))
            for split in splits:
                for batch in sequential(folder, found.tokenizer, found.audio, split=split, kinds={"paired"}):
                    on_device = batch.to(device)
                    scored += score(model, found.tokenizer, on_device, rows)
                    bar.update(len(batch))
                    if batch.phone_times is not None:
                        for name, differences in timing_errors(model, on_device).items():
                            timing[name].append(differences)
    return summarise(
        scored,
        timing,
        worst=worst,
        fingerprint=found.fingerprint,
        step=found.step,
        splits=tuple(splits),
        shards={(manifest := read_manifest(folder)).corpus: manifest.manifest_sha256 for folder in shards},
        normalizer=NORMALIZER_VERSION,
    )


def summarise(
    scored: Sequence[Scored], timing: Mapping[str, Sequence[Floats]], *, worst: int = 20, **origin: Any
) -> EvalReport:
    """Utterances and differences in seconds (see `timing_errors`) -> the report; origin: its first five fields."""
    by_domain: defaultdict[str, list[Scored]] = defaultdict(list)
    for one in scored:
        by_domain[one.domain or "-"].append(one)
    domains = tuple(_group(name, by_domain[name]) for name in sorted(by_domain))
    spreads = {name: _spread(differences) for name, differences in timing.items()}
    wrong = [one for one in scored if one.words.count]
    return EvalReport(
        overall=_group("all", scored),
        mean_wer=float(np.mean([group.wer for group in domains])),
        domains=domains,
        boundary=spreads.get("boundary"),
        aligned_duration=spreads.get("aligned_duration"),
        predicted_duration=spreads.get("predicted_duration"),
        worst=tuple(sorted(wrong, key=lambda one: (-one.words.count, -one.words.rate, one.key))[:worst]),
        **origin,
    )


def score(model: Recognizer, tokenizer: Tokenizer, batch: Batch, rows: Mapping[str, tuple[str, str]]) -> list[Scored]:
    """One paired batch -> a Scored for each utterance; rows: key -> (normalised text, domain)."""
    phones, phones_len = batch.side("phones")
    _, mel_len = batch.side("mel")
    seconds = mel_len / mel_len.sum() * batch.seconds
    scored = []
    heard = zip(batch.keys, model.transcribe(batch), model.recognize_phones(batch), strict=True)
    for row, (key, written, spoken) in enumerate(heard):
        reference, domain = rows[key]
        hypothesis = tokenizer.decode(written.tokens)
        real = phones[row, : int(phones_len[row])].tolist()
        scored.append(
            Scored(
                key=key,
                domain=domain,
                reference=reference,
                hypothesis=hypothesis,
                seconds=float(seconds[row]),
                words=word_errors(reference, hypothesis),
                chars=char_errors(reference, hypothesis),
                phones=unit_errors(list(map(str, real)), list(map(str, spoken.tokens))),
            )
        )
    return scored


def timing_errors(model: Recognizer, batch: Batch) -> dict[str, Floats]:
    """Found minus true, in seconds, over all phones of a paired batch whose corpus knows the phone times.

    boundary: start of each phone. aligned_duration and predicted_duration: from one start to the next, pauses included,
    the first from the beginning, which is what the resampler must fill; the last phone has no next.
    """
    assert batch.phone_times is not None
    _, phones_len = batch.side("phones")
    true = batch.phone_times[:, :, 0].double().cpu()  # (B, P)
    found = model.align(batch).double().cpu() * model.frame_sec
    predicted = model.predict_durations(batch).double().cpu() * model.frame_sec
    real = length_mask(phones_len.cpu(), true.shape[1])
    boundary = (found - true)[real].numpy()
    true[:, 0] = found[:, 0] = 0.0
    inner, wanted = real[:, 1:], true.diff(dim=1)  # phones that have a next
    return {
        "boundary": boundary,
        "aligned_duration": (found.diff(dim=1) - wanted)[inner].numpy(),
        "predicted_duration": (predicted[:, :-1] - wanted)[inner].numpy(),
    }


def _spread(differences: Sequence[Floats]) -> Spread:
    all_ms = np.concatenate(differences) * 1000.0
    return Spread(
        count=len(all_ms),
        median_ms=float(np.median(np.abs(all_ms))),
        p90_ms=float(np.quantile(np.abs(all_ms), 0.9)),
        bias_ms=float(np.median(all_ms)),
    )


def _group(name: str, scored: Sequence[Scored]) -> GroupScore:
    words, chars, phones = (
        add_up(errors) for errors in zip(*((s.words, s.chars, s.phones) for s in scored), strict=True)
    )
    counts, lengths = np.array([(one.words.count, one.words.length) for one in scored]).T
    return GroupScore(
        name=name,
        utterances=len(scored),
        hours=sum(one.seconds for one in scored) / 3600,
        wer=words.rate,
        wer_interval=bootstrap_interval(counts, lengths),
        cer=chars.rate,
        per=phones.rate,
        words=words,
        chars=chars,
        phones=phones,
    )
