"""Each utterance once at each tap and side, equal to the model alone, through kills, further taps and Ray."""

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from antiphon import checkpoint
from antiphon.data.ingest import IngestConfig, ingest
from antiphon.data.loader import sequential
from antiphon.data.manifest import read_rows
from antiphon.files import read_json, write_json
from antiphon.retrieval.embed import embed
from antiphon.retrieval.store import Store
from antiphon.retrieval.vectors import EmbedConfig
from antiphon.retrieval.verify import verify
from antiphon.retrieval.versions import list_versions

SETS = {("speech", "speech"), ("text", "text"), ("shared", "speech"), ("shared", "text")}


def contents(folder: Path) -> dict[tuple[str, str], dict[str, Any]]:
    """(tap, id) -> vector and metadata, whatever the order of the rows; fails when an id stands twice."""
    store, found = Store(folder), {}
    for tap, modality in store.sets():
        vectors, table = store.read(tap, modality)
        for vector, row in zip(vectors, table.to_pylist(), strict=True):
            assert (tap, row["id"]) not in found
            found[tap, row["id"]] = {"vector": vector, **row}
    return found


@pytest.fixture(scope="module")
def embedded(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("embedded") / "store"
    report = embed(world.run, [world.shards], out)
    assert (report.utterances, report.vectors, report.stored_before, report.left_out) == (20, 80, 0, {})
    return out


def test_each_tap_and_side_holds_the_models_vectors_and_the_manifests_facts(world: Any, embedded: Path) -> None:
    """The oracle is each utterance alone, unpadded; fp16 storage rounds."""
    store, found = Store(embedded), contents(embedded)
    assert store.sets() == dict.fromkeys(SETS, 20)
    made = checkpoint.load(world.run)
    rows = {row["key"]: row for row in read_rows(world.shards).to_pylist()}
    seen = 0
    for batch in sequential(world.shards, made.tokenizer, made.audio, split="test", max_batch_samples=1):
        (key,) = batch.keys
        for tap, side in SETS:
            row = found[tap, f"stew/{key}#{side}"]
            alone = made.model.embed(batch, tap, side)[0].numpy()
            np.testing.assert_allclose(row["vector"], alone, atol=1e-3)
            assert (row["key"], row["modality"], row["corpus"]) == (f"stew/{key}", side, "stew")
            for name in ("text", "speaker", "domain", "source", "shard", "offset", "bytes", "split", "language"):
                assert row[name] == rows[key][name], name
            seen += 1
    assert seen == len(found) == 80
    assert verify(embedded, deep=True) == []


def test_a_finished_store_is_left_alone(world: Any, embedded: Path) -> None:
    before = list_versions(embedded)
    report = embed(world.run, [world.shards], embedded)
    assert (report.utterances, report.vectors, report.stored_before) == (0, 0, 20)
    assert list_versions(embedded) == before


def test_what_is_missing_is_added(world: Any, embedded: Path, tmp_path: Path) -> None:
    """Another tap, then another split with text alone: a text row at each tap that reads text."""
    out = tmp_path / "store"
    assert embed(world.run, [world.shards], out, taps=["text"]).vectors == 20
    report = embed(world.run, [world.shards], out)
    assert (report.utterances, report.vectors) == (20, 60)
    want, found = contents(embedded), contents(out)
    assert want.keys() == found.keys()
    for name, row in want.items():
        np.testing.assert_array_equal(row["vector"], found[name]["vector"])
    report = embed(world.run, [world.shards], out, split="text")
    assert report.vectors == 2 * report.utterances
    assert report.audio_sec == 0.0


_RUN = """
import sys
from pathlib import Path
from antiphon.retrieval.embed import embed
from antiphon.retrieval.vectors import EmbedConfig
run, shards, out = map(Path, sys.argv[1:])
embed(run, [shards], out, config=EmbedConfig(utterances_per_commit=2, max_batch_samples=2))
"""


def test_killed_and_run_again_each_row_is_there_once(world: Any, embedded: Path, tmp_path: Path) -> None:
    out = tmp_path / "store"
    arguments = [sys.executable, "-c", _RUN, str(world.run), str(world.shards), str(out)]
    process = subprocess.Popen(arguments, stderr=subprocess.DEVNULL)
    while len(list_versions(out)) < 4 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    left = Store(out).version.rows
    assert 0 < left < 80
    report = embed(world.run, [world.shards], out, config=EmbedConfig(max_batch_samples=2))
    assert report.vectors == 80 - left
    want, found = contents(embedded), contents(out)
    assert want.keys() == found.keys()
    for name, row in want.items():
        np.testing.assert_allclose(row["vector"], found[name]["vector"], atol=2e-3)
    assert verify(out, deep=True) == []


def test_another_checkpoint_or_another_ingest_is_refused(world: Any, embedded: Path, tmp_path: Path) -> None:
    rows = Store(embedded).version.rows
    with pytest.raises(ValueError, match="must be embedded by one checkpoint"):
        embed(world.other_run, [world.shards], embedded)
    again = shutil.copytree(world.shards, tmp_path / "stew")
    manifest = read_json(again / "manifest.json")
    write_json(again / "manifest.json", {**manifest, "manifest_sha256": "0" * 64})
    with pytest.raises(ValueError, match="must hold one ingest of stew"):
        embed(world.run, [again], embedded)
    with pytest.raises(ValueError, match="must hold the split nosuch"):
        embed(world.run, [world.shards], embedded, split="nosuch")
    with pytest.raises(ValueError, match="among the model's speech, text, shared, but 'middle' is not"):
        embed(world.run, [world.shards], tmp_path / "store", taps=["middle"])
    assert Store(embedded).version.rows == rows


@pytest.mark.ray
def test_ray_workers_give_the_rows_of_one_process_in_its_order(world: Any, tmp_path: Path, ray_cluster: None) -> None:
    words = ["zero", "one", "two", "three", "four", "five", "six", "seven"]
    lines = [f"{first} {second}" for first in words for second in words]
    (tmp_path / "lines.txt").write_text("\n".join(lines))
    shards = tmp_path / "lines"
    options = {"path": str(tmp_path / "lines.txt")}
    ingest("text", options, shards, IngestConfig(corpus="lines", texts_per_shard=8), progress=False)
    config = EmbedConfig(utterances_per_commit=16)
    stores = []
    for workers in (1, 2):
        out = tmp_path / f"store-{workers}"
        report = embed(world.run, [shards], out, split="text", taps=["shared", "text"], workers=workers, config=config)
        assert (report.utterances, report.vectors) == (64, 128)
        stores.append(Store(out))
    assert len(stores[1].version.fragments) == 8
    for tap in ("shared", "text"):
        (one, one_table), (two, two_table) = (store.read(tap, "text") for store in stores)
        assert one_table.equals(two_table)
        np.testing.assert_allclose(one, two, atol=1e-3)
    assert embed(world.run, [shards], out, split="text", taps=["text"], workers=2, config=config).vectors == 0


def test_vectors_that_are_not_finite_fail_the_run_by_name(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that diverged: nothing of it is stored, and the sentence says why."""
    from antiphon.models.speech_text.maestro import Maestro

    whole: Callable[..., Any] = Maestro.embed
    monkeypatch.setattr(Maestro, "embed", lambda *arguments: whole(*arguments) * float("nan"))
    with pytest.raises(ValueError, match="not_finite"):
        embed(world.run, [world.shards], tmp_path / "store", taps=["text"])
    assert Store(tmp_path / "store").version.rows == 0


def test_a_finished_run_with_a_bad_vector_is_finished_again(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bad one is computed again by each run, and its share stays one of all 20, not one of one."""
    from antiphon.models.speech_text.maestro import Maestro

    whole: Callable[..., Any] = Maestro.embed
    lost = next(row["key"] for row in read_rows(world.shards).to_pylist() if row["split"] == "test")

    def spoilt(model: Maestro, batch: Any, tap: str, side: str) -> Any:
        vectors = whole(model, batch, tap, side)
        vectors[[key == lost for key in batch.keys]] = float("nan")
        return vectors

    monkeypatch.setattr(Maestro, "embed", spoilt)
    config, out = EmbedConfig(max_bad_share=0.05), tmp_path / "store"
    first = embed(world.run, [world.shards], out, taps=["text"], config=config)
    again = embed(world.run, [world.shards], out, taps=["text"], config=config)
    assert (first.vectors, again.vectors) == (19, 0)
    assert first.left_out == again.left_out == {"not_finite": 1}
    with pytest.raises(ValueError, match="but 1 of 20 are"):
        embed(world.run, [world.shards], out, taps=["text"])
