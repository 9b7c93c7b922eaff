"""The whole path on the tiny corpus through the command line, once; then everything that a person may ask or break."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest

from antiphon import cli
from antiphon.audio.waveform import write_wav
from antiphon.data.manifest import read_rows

pytest.importorskip("espeakng_loader", reason="the embedded corpus needs the extra demo")

TAPS = {("speech", "speech"), ("text", "text"), ("shared", "speech"), ("shared", "text")}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished quickstart."""
    folder = tmp_path_factory.mktemp("path") / "quickstart"
    assert cli.main(["quickstart", "--size", "tiny", "--out", str(folder), "--threads", "1"]) == 0
    return folder


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    """Run a verb in this process: (exit code, stdout, stderr)."""

    def call(verb: str, *arguments: object) -> tuple[int, str, str]:
        capsys.readouterr()
        code = cli.main([verb, *map(str, arguments), "--threads", "1"])
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


Run = Callable[..., tuple[int, str, str]]


def run_folder(out: Path) -> Path:
    (folder,) = (out / "runs").iterdir()
    return folder


def files(folder: Path) -> dict[str, int]:
    return {str(path.relative_to(folder)): path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def test_the_summary_has_exactly_its_fields_and_they_are_sane(out: Path) -> None:
    summary: dict[str, Any] = json.loads((out / "summary.json").read_text())
    fields = "wall_sec stage_sec cores hours steps wer recall_at_1 boundary_error_ms audio_sec_per_sec"
    assert list(summary) == fields.split()
    assert set(summary["wer"]) == {"read", "meeting", "phone", "talk", "clips"}
    assert set(summary["recall_at_1"]) == {"shared", "speech_text", "chance", "candidates"}
    assert summary["recall_at_1"]["chance"] == 1 / summary["recall_at_1"]["candidates"] == 1 / 20
    assert set(summary["boundary_error_ms"]) == {"median", "p90"}
    assert summary["wall_sec"] == pytest.approx(sum(summary["stage_sec"].values()))
    assert summary["steps"] == 30
    assert 0 < summary["hours"] < 0.2


def test_a_second_run_does_nothing_and_tells_the_first_runs_times(out: Path, run: Run) -> None:
    before = files(out)
    code, said, progress = run("quickstart", "--size", "tiny", "--out", out)
    assert code == 0
    assert files(out) == before
    assert progress.count("was finished") == 7
    assert said.strip() == (out / "table.txt").read_text().strip()


def test_the_page_shows_every_domain_and_says_that_its_speech_is_synthetic(out: Path) -> None:
    html = (out / "report.html").read_text()
    for name in ("read", "meeting", "phone", "talk", "clips"):
        assert f'<span class="badge">{name}</span>' in html
    assert html.count("<audio") == html.count("synthetic speech</span>") > 10
    assert html.count("<svg") > 10


def test_the_store_holds_each_pair_at_each_tap(out: Path) -> None:
    from antiphon.retrieval.store import Store

    assert Store(out / "store").sets() == dict.fromkeys(TAPS, 20)


def test_every_product_is_whole(out: Path, run: Run) -> None:
    for folder in (out / "shards/stew", out / "tokenizer", run_folder(out), out / "store"):
        code, said, _ = run("verify", folder, "--deep")
        assert (code, said) == (0, f"{folder}: whole\n")


SCHEMAS = {
    "shards_manifest": "shards/stew/manifest.json",
    "shard_marker": "shards/stew/*/*.json",
    "tokenizer": "tokenizer/tokenizer.json",
    "experiment": "runs/*/experiment.json",
    "checkpoint_manifest": "runs/*/step-*/manifest.json",
    "store_version": "store/versions/*.json",
    "evaluation": "evaluation.json",
    "summary": "summary.json",
}


@pytest.mark.parametrize("name", sorted(SCHEMAS))
def test_files_fit_their_schema(name: str, out: Path) -> None:
    schema = json.loads((Path(__file__).parents[1] / "schemas" / f"{name}.json").read_text())
    paths = sorted(out.glob(SCHEMAS[name]))
    assert paths
    for path in paths:
        jsonschema.validate(json.loads(path.read_text()), schema)


def test_text_finds_speech_and_speech_finds_text(out: Path, run: Run, tmp_path: Path) -> None:
    rows = read_rows(out / "shards/stew").to_pylist()
    row = next(row for row in rows if row["split"] == "test" and row["kind"] == "paired")
    code, said, _ = run("search", out / "store", "--text", row["text"], "--limit", "3")
    assert code == 0
    assert len(said.splitlines()) == 1 + 3
    assert said.count("espeak-ng:") == 3  # speech, each with its source
    time = np.arange(16_000) / 16_000
    write_wav(tmp_path / "query.wav", (0.3 * np.sin(2 * np.pi * 220 * time)).astype(np.float32), 16_000)
    code, said, _ = run("search", out / "store", "--audio", tmp_path / "query.wav", "--limit", "2")
    assert code == 0
    assert len(said.splitlines()) == 1 + 2


def test_plan_and_evaluate_read_the_same_folders(out: Path, run: Run, tmp_path: Path) -> None:
    code, said, _ = run("plan", "maestro.tiny", "--shards", out / "shards/stew", "--tokenizer", out / "tokenizer")
    assert code == 0
    assert "30 steps" in said
    path = tmp_path / "evaluation.json"
    code, said, _ = run("evaluate", run_folder(out), "--shards", out / "shards/stew", "--split", "dev", "--out", path)
    assert code == 0
    assert "normaliser" in said
    assert json.loads(path.read_text())["splits"] == ["dev"]


def test_verbs_one_by_one_give_the_quickstarts_products(out: Path, run: Run, tmp_path: Path) -> None:
    """The same stages by hand, from the shards on: same tokenizer, same run, nothing to do."""
    assert run("tokenizer", out / "shards/stew", "--vocab-size", "64", "--out", f"{tmp_path}/tokenizer")[0] == 0
    assert files(tmp_path / "tokenizer").keys() == files(out / "tokenizer").keys()
    for name in files(tmp_path / "tokenizer"):
        assert (tmp_path / "tokenizer" / name).read_bytes() == (out / "tokenizer" / name).read_bytes()
    before = files(run_folder(out))
    line = [
        "maestro.tiny",
        "--shards",
        out / "shards/stew",
        "--tokenizer",
        f"{tmp_path}/tokenizer",
        "--out",
        out / "runs",
    ]
    code, said, _ = run("train", *line)
    assert (code, said.strip()) == (0, str(run_folder(out)))
    assert files(run_folder(out)) == before
    code, said, _ = run("embed", run_folder(out), "--shards", out / "shards/stew", "--out", out / "store")
    assert code == 0
    assert said.startswith("0 vectors")
    assert run("index", out / "store")[0] == 0


def test_a_flipped_byte_is_one_sentence(out: Path, run: Run, tmp_path: Path) -> None:
    shutil.copytree(out / "shards/stew", tmp_path / "stew")
    tar = next((tmp_path / "stew/train").glob("*.tar"))
    data = bytearray(tar.read_bytes())
    data[len(data) // 2] ^= 1
    tar.write_bytes(data)
    code, _, error = run("verify", tmp_path / "stew")
    assert code == 1
    assert str(tar) in error
    line = ["maestro.tiny", "--shards", tmp_path / "stew", "--tokenizer", out / "tokenizer", "--out", tmp_path / "runs"]
    code, _, error = run("train", *line)
    assert code == 2
    last = error.strip().splitlines()[-1]
    assert "CRC-32" in last
    assert str(tar) in last


BAD_QUERIES = [
    (["--text", "漢字"], "漢字"),
    (["--text", "?!"], "must hold a word"),
    (["--audio", "{folder}/empty.wav"], "empty.wav"),
    (["--audio", "{folder}/none.wav"], "none.wav"),
    (["--audio", "{folder}/silent.wav"], "silent.wav"),
    (["--text", "seven", "--tap", "middle"], "tap middle"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD_QUERIES, ids=[words for _, words in BAD_QUERIES])
def test_a_query_that_cannot_be_asked_is_one_sentence(
    arguments: list[str], words: str, out: Path, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "empty.wav").touch()
    write_wav(tmp_path / "silent.wav", np.zeros(0, np.float32), 16_000)
    code, _, error = run("search", out / "store", *[one.replace("{folder}", str(tmp_path)) for one in arguments])
    assert code == 2
    assert words in error
    assert len(error.strip().splitlines()) == 1


def test_shards_of_another_spec_and_a_checkpoint_of_another_config(out: Path, run: Run, tmp_path: Path) -> None:
    shards, tokenizer = out / "shards/stew", out / "tokenizer"
    line = ["maestro.tiny", "--shards", shards, "--tokenizer", tokenizer, "--out", tmp_path]
    code, _, error = run("train", *line, "--set", "model.audio.num_mels=40")
    assert code == 2
    assert "num_mels is 40" in error
    code, _, error = run("train", *line, "--set", "model.dim=64", "--init", run_folder(out))
    assert code == 2
    assert "must have the tensors of" in error
    stored = out / "store"
    code, _, error = run("embed", "maestro.none", "--shards", shards, "--out", stored)
    assert code == 2
    assert "must hold one trained run named maestro.none" in error
