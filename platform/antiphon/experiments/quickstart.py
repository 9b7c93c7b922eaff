"""`antiphon quickstart`: the whole path on the embedded corpus, from nothing to a measured, indexed model and a page.

    OUT/  shards/stew  tokenizer  runs/maestro.small-...  evaluation.json  store  times.json
          summary.json  table.txt  report.html

Each stage is the function behind its verb of the command line, and is skipped when its product is there. Its time is
kept with the name of its product, so that a second run tells how long the work took and not how long the skipping did.
"""

import os
import shutil
import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter
from typing import Any, Literal, TypeVar

import torch

from antiphon import checkpoint
from antiphon.analysis.report import render
from antiphon.checkpoint import Checkpoint
from antiphon.config import from_dict, to_dict
from antiphon.data.ingest import IngestConfig, ingest
from antiphon.data.manifest import Manifest
from antiphon.data.vocabulary import make_tokenizer
from antiphon.experiments import maestro
from antiphon.experiments.quickstart_page import SPLIT, Facts, measure, page, table
from antiphon.files import hash_text, read_json, write_bytes, write_json
from antiphon.retrieval.embed import embed
from antiphon.retrieval.index import IndexConfig, build
from antiphon.retrieval.store import Store
from antiphon.retrieval.versions import list_versions
from antiphon.train.evaluate import EvalReport, evaluate
from antiphon.train.experiment import Experiment
from antiphon.train.launch import train
from antiphon.train.log import read_ledger

T = TypeVar("T")
Size = Literal["tiny", "small"]

_EXPERIMENTS: dict[Size, Callable[[], Experiment]] = {"tiny": maestro.tiny, "small": maestro.small}
_NUM_STAGES = 7


@dataclass(frozen=True, kw_only=True)
class RecallSummary:
    """R@1 speech -> text among `candidates`: at the shared tap, and of the speech tap against the text tap."""

    shared: float
    speech_text: float
    chance: float
    candidates: int


@dataclass(frozen=True, kw_only=True)
class BoundarySummary:
    """Absolute error of the start of a phone against its true time, in milliseconds."""

    median: float
    p90: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """What `summary.json` holds: the figures of a run for machines."""

    wall_sec: float
    stage_sec: dict[str, float]
    cores: int
    hours: float  # of speech trained on
    steps: int
    wer: dict[str, float]  # domain -> share
    recall_at_1: RecallSummary
    boundary_error_ms: BoundarySummary
    audio_sec_per_sec: float  # over all of training


class Times:
    """Seconds of each stage, in a file, beside the name of what the stage made.

    A stage that finds its product made before keeps the time of the run that made it. An attempt that ended in an error
    or an interrupt counts towards the next; the time of one that was killed is lost.
    """

    def __init__(self, path: Path) -> None:
        self._path, self._number = path, 0
        self._rows: dict[str, dict[str, Any]] = read_json(path) if path.exists() else {}

    def stage(self, name: str, work: Callable[[], T], product: Callable[[T], str]) -> T:
        """Do the work of a stage; product names what it made."""
        known = self._rows.get(name, {"sec": 0.0, "product": ""})
        self._number += 1
        print(f"[{self._number}/{_NUM_STAGES}] {name}", file=sys.stderr)
        started = perf_counter()
        try:
            result = work()
        except BaseException:
            self.note(name, known["sec"] * (not known["product"]) + perf_counter() - started, "")
            raise
        made, sec = product(result), perf_counter() - started
        if made == known["product"]:
            print(f"      was finished; it took {known['sec']:.1f} s", file=sys.stderr)
        else:
            self.note(name, known["sec"] * (not known["product"]) + sec, made)
            print(f"      {self._rows[name]['sec']:.1f} s", file=sys.stderr)
        return result

    def note(self, name: str, sec: float, product: str) -> None:
        """Write down a stage."""
        self._rows[name] = {"sec": sec, "product": product}
        write_json(self._path, self._rows)

    def made(self, name: str) -> str:
        """Names what a stage made, '' when it has made nothing."""
        product: str = self._rows.get(name, {}).get("product", "")
        return product

    @property
    def seconds(self) -> dict[str, float]:
        """Stage -> seconds of work."""
        return {name: row["sec"] for name, row in self._rows.items()}


def quickstart(out: Path, size: Size = "small", *, started: float, workers: int = 1, device: str = "cpu") -> Summary:
    """Run what is not finished of the path in `out`, print the table. started: perf_counter() as the process began."""
    out.mkdir(parents=True, exist_ok=True)
    times = Times(out / "times.json")
    if "start" not in times.seconds:
        times.note("start", perf_counter() - started, "imports")
    experiment = _EXPERIMENTS[size]()
    shards, tokenizer, store = out / "shards" / "stew", out / "tokenizer", out / "store"
    config = IngestConfig(corpus="stew")
    manifest = times.stage(
        "ingest",
        lambda: ingest("stew", {"size": size}, shards, config, workers=workers).manifest,
        lambda made: made.manifest_sha256,
    )
    vocab_size = experiment.model.vocab_size
    times.stage(
        "tokenizer",
        lambda: make_tokenizer([shards], tokenizer, vocab_size=vocab_size),
        lambda made: made.fingerprint,
    )
    found = times.stage(
        "train",
        lambda: checkpoint.load(_train(experiment, shards, tokenizer, out / "runs", workers, device), device),
        lambda made: made.fingerprint,
    )
    report = times.stage(
        "evaluate",
        lambda: _evaluate(found, shards, manifest, out / "evaluation.json"),
        lambda made: hash_text(made.fingerprint, *made.shards.values()),
    )
    times.stage("embed", lambda: _embed(found, shards, store, workers, device), lambda made: _rows(made))
    opened = times.stage("index", lambda: _index(store), lambda made: made.version.sha256)
    facts = Facts(
        out=out, size=size, manifest=manifest, shards=shards, found=found, store=opened, evaluation=report,
        ledger=tuple(read_ledger(found.folder.parent / "ledger.jsonl")),
    )  # fmt: skip
    summary = times.stage(
        "report",
        lambda: _report(facts, times, since=perf_counter()),
        lambda made: _origin(facts),
    )
    print((out / "table.txt").read_text())
    return summary


def _train(experiment: Experiment, shards: Path, tokenizer: Path, out: Path, workers: int, device: str) -> Path:
    threads = torch.get_num_threads()  # the command line has set them; ranks are processes of their own
    return train(experiment, [shards], tokenizer, out, workers=workers, device=device, threads=threads)


def _evaluate(found: Checkpoint, shards: Path, manifest: Manifest, path: Path) -> EvalReport:
    """The measures of this checkpoint on these shards, from the file when it holds them."""
    if path.exists():
        known = from_dict(EvalReport, read_json(path), str(path))
        if (known.fingerprint, known.shards) == (found.fingerprint, {manifest.corpus: manifest.manifest_sha256}):
            return known
    report = evaluate(found, [shards], splits=(SPLIT,))
    write_json(path, to_dict(report))
    return report


def _embed(found: Checkpoint, shards: Path, folder: Path, workers: int, device: str) -> Store:
    """The store with every vector of the split; one that another checkpoint filled is made anew, for it is ours."""
    if list_versions(folder) and Store(folder).version.encoder.checkpoint != found.fingerprint:
        _delete(folder)
    embed(found.folder, [shards], folder, split=SPLIT, workers=workers, device=device)
    return Store(folder)


def _delete(folder: Path) -> None:
    """Rename, then delete: a kill in between leaves no versions without their fragments under the store's name."""
    aside = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.tmp")
    os.rename(folder, aside)
    shutil.rmtree(aside)


def _rows(store: Store) -> str:
    """Names what a store holds, whatever indexes it has."""
    return hash_text(*(fragment.id for fragment in store.version.fragments))


def _index(folder: Path) -> Store:
    store = Store(folder)
    build(store, IndexConfig())
    return store


def _report(facts: Facts, times: Times, *, since: float) -> Summary:
    """Measure the space, ask it, write table, page and summary; the summary, which is read, last."""
    path = facts.out / "summary.json"
    if is_reported(facts.out) and times.made("report") == _origin(facts):
        return from_dict(Summary, read_json(path), str(path))
    measured = measure(facts)
    seconds = {**times.seconds, "report": perf_counter() - since}
    shared, modal = measured.recalls["shared"][0], measured.recalls["speech, text"][0]
    trained = [line for line in facts.ledger if "time" in line]
    boundary = facts.evaluation.boundary
    assert boundary is not None, "the stew knows its phone times"
    summary = Summary(
        wall_sec=sum(seconds.values()),
        stage_sec=seconds,
        cores=len(os.sched_getaffinity(0)),
        hours=facts.manifest.hours["train"],
        steps=facts.found.step,
        wer={domain.name: domain.wer for domain in facts.evaluation.domains},
        recall_at_1=RecallSummary(
            shared=shared.recall_at_1,
            speech_text=modal.recall_at_1,
            chance=shared.chance,
            candidates=shared.candidates,
        ),
        boundary_error_ms=BoundarySummary(median=boundary.median_ms, p90=boundary.p90_ms),
        audio_sec_per_sec=sum(line["audio_sec"] for line in trained)
        / sum(line["time"]["wall_sec"] for line in trained),
    )
    plain = to_dict(summary)
    write_bytes(facts.out / "table.txt", table(facts, measured, plain).encode())
    write_bytes(facts.out / "report.html", render(page(facts, measured, plain)).encode())
    write_json(path, plain)
    return summary


def is_reported(out: Path) -> bool:
    """Are all files of a report there? Which checkpoint and store they are of, `Times` knows."""
    return all((out / name).exists() for name in ("summary.json", "report.html", "table.txt"))


def _origin(facts: Facts) -> str:
    """Names what the report was made from."""
    return hash_text(facts.evaluation.fingerprint, facts.store.version.sha256)
