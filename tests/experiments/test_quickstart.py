"""The book-keeping of the quickstart; the path itself is walked in test_pipeline.py."""

import json
from pathlib import Path

import pytest

from antiphon.experiments.quickstart import Times
from antiphon.experiments.quickstart_page import clock


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
