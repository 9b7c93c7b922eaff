"""The book-keeping of the quickstart; the path itself is walked in test_pipeline.py."""

import json
import shutil
from pathlib import Path
from time import perf_counter
from types import SimpleNamespace
from typing import Any

import pytest

from antiphon.experiments.quickstart import Times, _embed, is_reported, quickstart
from antiphon.experiments.quickstart_page import clock
from antiphon.retrieval.store import Store
from antiphon.retrieval.versions import Encoder


def work(sec: float) -> str:
    import time

    time.sleep(sec)
    return "made"


def test_a_skipped_stage_keeps_the_time_of_the_run_that_did_the_work(tmp_path: Path) -> None:
    path = tmp_path / "times.json"
    Times(path).stage("train", lambda: work(0.05), str)
    first = Times(path).seconds["train"]
    assert first >= 0.05
    again = Times(path)
    assert again.stage("train", lambda: "made", str) == "made"
    assert again.seconds["train"] == first
    assert again.made("train") == "made"


def test_another_product_has_a_time_of_its_own(tmp_path: Path) -> None:
    times = Times(tmp_path / "times.json")
    times.stage("train", lambda: work(0.05), str)
    times.stage("train", lambda: "other", str)
    assert times.seconds["train"] < 0.05


def test_the_time_of_an_interrupted_attempt_counts(tmp_path: Path) -> None:
    path = tmp_path / "times.json"

    def interrupted() -> str:
        work(0.05)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Times(path).stage("train", interrupted, str)
    assert Times(path).made("train") == ""
    times = Times(path)
    times.stage("train", lambda: work(0.05), str)
    assert times.seconds["train"] >= 0.1
    assert list(json.loads(path.read_text())) == ["train"]


@pytest.mark.parametrize(("seconds", "shown"), [(0.4, "0:00"), (59.9, "0:59"), (497.0, "8:17")])
def test_clock(seconds: float, shown: str) -> None:
    assert clock(seconds) == shown


def test_workers_reach_the_training(tiny_stew: Path, tmp_path: Path) -> None:
    """More than a step has micro-batches are refused, by a sentence of the training; all before it is finished."""
    shutil.copytree(tiny_stew, tmp_path / "shards" / "stew")
    with pytest.raises(ValueError, match="each step must hold a micro-batch for every worker"):
        quickstart(tmp_path, "tiny", started=perf_counter(), workers=1000)


def test_a_kill_while_a_store_is_deleted_leaves_no_half_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "store"
    Store.create(folder, dim=2, encoder=Encoder(checkpoint="another"))
    found: Any = SimpleNamespace(fingerprint="mine", folder=tmp_path / "run")

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(shutil, "rmtree", killed)
    with pytest.raises(KeyboardInterrupt):
        _embed(found, tmp_path / "shards", folder, 1, "cpu")
    assert not folder.exists()


@pytest.mark.parametrize("lost", ["summary.json", "report.html", "table.txt"])
def test_a_report_is_whole_with_all_of_its_files(tmp_path: Path, lost: str) -> None:
    for name in ("summary.json", "report.html", "table.txt"):
        (tmp_path / name).touch()
    assert is_reported(tmp_path)
    (tmp_path / lost).unlink()
    assert not is_reported(tmp_path)
