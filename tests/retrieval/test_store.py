"""The store keeps what it took, refuses what it must, and survives killed, racing and careless writers."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from antiphon import files
from antiphon.config import from_dict, to_dict
from antiphon.retrieval.store import META_SCHEMA, Store
from antiphon.retrieval.verify import verify
from antiphon.retrieval.versions import Conflict, Encoder, UnknownFormat, commit, list_versions, read_version

ENCODER = Encoder(checkpoint="c0ffee", pooling="mean", path="../run/step-00000100")
DIM = 8


def rows(count, start=0, modality="speech", tap="shared", seed=0):
    """count unit vectors (count, DIM) and their metadata; ids are start, start + 1, ..."""
    vectors = np.random.default_rng([seed, start]).standard_normal((count, DIM)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    ids = [f"c/{row}#{modality}" for row in range(start, start + count)]
    columns = {"id": ids, "key": [name.split("#")[0] for name in ids], "text": [f"text {name}" for name in ids]}
    constant = {"modality": [modality] * count, "tap": [tap] * count, "seconds": [1.5] * count}
    return vectors, pa.table({**columns, **constant})


@pytest.fixture
def store(tmp_path):
    return Store.create(tmp_path / "store", dim=DIM, encoder=ENCODER)


def test_rows_come_back_in_order_and_by_set(store):
    """Vectors, metadata and row order survive; sets do not mix; a second process would see the same."""
    speech, speech_meta = rows(5)
    more, more_meta = rows(3, start=5)
    text, text_meta = rows(4, modality="text")
    store.add(np.concatenate([speech, text]), pa.concat_tables([speech_meta, text_meta]), encoder=ENCODER)
    assert store.add(more, more_meta, encoder=ENCODER, inputs={"c": "hash"}).added == 3

    again = Store(store.folder)
    vectors, table = again.read("shared", "speech")
    assert np.array_equal(vectors, np.concatenate([speech, more]).astype(np.float16))
    assert table.column("id").to_pylist() == [f"c/{row}#speech" for row in range(8)]
    assert table.schema == META_SCHEMA
    assert again.sets() == {("shared", "speech"): 8, ("shared", "text"): 4}
    assert [part.shape for part in again.parts("shared", "speech")] == [(5, DIM), (3, DIM)]
    assert isinstance(again.parts("shared", "text")[0], np.memmap)
    assert again.version.inputs == {"c": "hash"}
    assert again.version.parent == again.version.version - 1
    assert again.max_norm("shared", "speech") == pytest.approx(1.0, abs=1e-3)
    assert verify(store.folder, deep=True) == []


def test_version_file_is_the_dataclass(store):
    store.add(*rows(2), encoder=ENCODER)
    path = list_versions(store.folder)[-1]
    assert from_dict(type(store.version), json.loads(path.read_text())) == store.version
    assert to_dict(read_version(path)) == json.loads(path.read_text())


def _set(array, index, value):
    array[index] = value
    return array


@pytest.mark.parametrize(
    ("reason", "words", "spoil"),
    [
        ("not_finite", "must be finite", lambda v, m: (_set(v, (1, 2), np.nan), m)),
        ("not_finite", "must be finite", lambda v, m: (_set(v, (1, 2), -np.inf), m)),
        ("zero_norm", "length above zero", lambda v, m: (_set(v, 1, 0), m)),
        ("zero_norm", "all zeros in float16", lambda v, m: (_set(v, 1, 1e-9), m)),
        ("overflow", "must fit float16", lambda v, m: (_set(v, (1, 0), 70_000.0), m)),
        ("no_id", "must have an id", lambda v, m: (v, m.set_column(0, "id", pa.array(["a", None, "b"])))),
        ("duplicate_in_batch", "id of its own", lambda v, m: (v, m.set_column(0, "id", pa.array(["a", "a", "b"])))),
        (
            "already_stored",
            "new in its tap",
            lambda v, m: (v, m.set_column(0, "id", pa.array(["a", "c/0#speech", "b"]))),
        ),
    ],
)
def test_a_bad_row_is_refused_by_name_or_dropped_and_reported(store, reason, words, spoil):
    store.add(*rows(1), encoder=ENCODER)
    vectors, meta = spoil(*rows(3, start=10))
    with pytest.raises(ValueError, match=words) as error:
        store.add(vectors, meta, encoder=ENCODER)
    assert "row 1" in str(error.value)
    assert store.version.rows == 1  # one bad row refuses all

    report = store.add(vectors, meta, encoder=ENCODER, on_bad_vectors="drop")
    assert (report.added, report.rejected_total) == (2, 1)
    assert [(reject.row, reject.reason) for reject in report.rejected] == [(1, reason)]
    assert np.isfinite(store.read("shared", "speech")[0]).all()
    assert Store(store.folder).version.rows == 3


@pytest.mark.parametrize(
    ("reason", "spoil"),
    [
        ("dim", lambda v: (v[:, :-1], ENCODER)),
        ("dtype", lambda v: (v.astype(np.float64), ENCODER)),
        ("encoder", lambda v: (v, Encoder(checkpoint="other"))),
        ("encoder", lambda v: (v, Encoder(checkpoint="c0ffee", pooling="last"))),
    ],
)
def test_a_batch_that_does_not_fit_the_store_is_refused_whole(store, reason, spoil):
    vectors, meta = rows(3)
    vectors, encoder = spoil(vectors)
    with pytest.raises(ValueError, match="each vector must"):
        store.add(vectors, meta, encoder=encoder)
    report = store.add(vectors, meta, encoder=encoder, on_bad_vectors="drop")
    assert (report.added, {reject.reason for reject in report.rejected}) == (0, {reason})
    assert store.version.version == 1


def test_a_good_row_is_not_blamed_for_a_bad_twin(store):
    """The second row of an id is kept when the first was not stored for another reason."""
    vectors, meta = rows(2)
    vectors[0] = np.nan
    report = store.add(vectors, meta.set_column(0, "id", pa.array(["a", "a"])), encoder=ENCODER, on_bad_vectors="drop")
    assert (report.added, report.rejected[0].reason) == (1, "not_finite")


def test_metadata_must_fit(store):
    vectors, meta = rows(2)
    for bad, words in [
        (meta.rename_columns(["id", "key", "txt", "modality", "tap", "seconds"]), "did you mean text"),
        (meta.drop_columns("tap"), "has no tap"),
        (meta.set_column(3, "modality", pa.array(["speech", "video"])), "'video'"),
        (meta.set_column(5, "seconds", pa.array(["long", "short"])), "column types"),
        (meta.slice(1), "beside 1 rows"),
    ]:
        with pytest.raises(ValueError, match=words):
            store.add(vectors, bad, encoder=ENCODER)


def test_create_does_not_touch_a_store_and_open_needs_one(store, tmp_path):
    with pytest.raises(ValueError, match="must hold no store yet"):
        Store.create(store.folder, dim=DIM, encoder=ENCODER)
    with pytest.raises(ValueError, match="but has none"):
        Store(tmp_path / "nothing")
    with pytest.raises(ValueError, match="must hold text rows of tap shared, but holds nothing"):
        store.read("shared", "text")


def test_a_flipped_byte_in_any_file_is_named_and_not_served(store):
    store.add(*rows(20), encoder=ENCODER)
    fragment = store.version.fragments[0]
    for path in (store.folder / fragment.vectors.path, store.folder / fragment.meta.path):
        whole = path.read_bytes()
        path.write_bytes(whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:])
        assert [path.name in problem for problem in verify(store.folder, deep=True)] == [True]
        assert verify(store.folder) == []  # only reading finds it
        with pytest.raises(ValueError, match=path.name):
            Store(store.folder).read("shared", "speech")
        path.write_bytes(whole)
    newest = list_versions(store.folder)[-1]
    newest.write_text(newest.read_text().replace('"rows": 20', '"rows": 21', 1))
    assert [newest.name in problem for problem in verify(store.folder)] == [True]


@pytest.mark.parametrize("damage", ["empty", "torn", "fragment"])
def test_open_falls_back_to_the_newest_whole_version_and_says_so(store, caplog, damage):
    store.add(*rows(2), encoder=ENCODER)
    store.add(*rows(2, start=2), encoder=ENCODER)
    newest = list_versions(store.folder)[-1]
    if damage == "fragment":
        os.truncate(store.folder / store.version.fragments[-1].vectors.path, 40)
    else:
        newest.write_bytes(newest.read_bytes()[:100] if damage == "torn" else b"")
    again = Store(store.folder)
    assert again.version.rows == 2
    assert newest.name in again.broken[0]
    assert newest.name in caplog.text
    again.add(*rows(3, start=10), encoder=ENCODER)  # under a number of its own
    assert (again.version.version, again.version.parent) == (4, 2)
    assert Store(store.folder).version.rows == 5


def test_a_later_format_is_refused_and_not_fallen_back_from(store):
    data = to_dict(store.version)
    del data["sha256"]
    data = {**data, "format": 2, "version": 2, "news": True}
    data["sha256"] = hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=False).encode()).hexdigest()
    files.write_json(store.folder / "versions" / "00000002.json", data)
    with pytest.raises(UnknownFormat, match="has 2"):
        Store(store.folder)


def test_the_second_of_two_commits_loses_and_retries(store):
    """Both opened the same version; nothing of either is lost, and an id of both is refused or dropped."""
    other = Store(store.folder)
    store.add(*rows(3), encoder=ENCODER)
    with pytest.raises(Conflict):
        commit(store.folder, other.version.__class__(**{**vars(other.version), "version": 2, "parent": 1}))
    assert other.add(*rows(3, start=3), encoder=ENCODER).added == 3
    assert store.add(*rows(1, start=9), encoder=ENCODER).added == 1
    with pytest.raises(ValueError, match="new in its tap"):
        other.add(*rows(2, start=9), encoder=ENCODER)
    store.add(*rows(1, start=20), encoder=ENCODER)
    report = other.add(*rows(2, start=20), encoder=ENCODER, on_bad_vectors="drop")
    assert (report.added, report.rejected[0].reason) == (1, "already_stored")
    assert Store(store.folder).version.rows == 9
    assert verify(store.folder, deep=True) == []


def test_staged_fragments_are_listed_by_one_commit(store):
    staged = [store.stage(*rows(2, start=2 * part), encoder=ENCODER) for part in range(3)]
    assert Store(store.folder).version.rows == 0
    store.commit(staged)
    assert Store(store.folder).version.rows == 6
    with pytest.raises(ValueError, match="new in its tap"):
        store.commit(staged[:1])


# Adds batches of 4 rows from a number on, says each number when the store has acknowledged it, stops after `count`.
_WRITER = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_store import ENCODER, rows
from antiphon.retrieval.store import Store
store = Store(Path(sys.argv[2]))
first, count = int(sys.argv[3]), int(sys.argv[4])
rows(1), store.ids("shared")
print("ready", flush=True)
for batch in range(first, first + count):
    store.add(*rows(4, start=4 * batch), encoder=ENCODER)
    print(batch, flush=True)
"""


def start_writer(folder: Path, first: int, count: int) -> subprocess.Popen[str]:
    arguments = [str(Path(__file__).parent), str(folder), str(first), str(count)]
    return subprocess.Popen([sys.executable, "-c", _WRITER, *arguments], stdout=subprocess.PIPE, text=True)


def ids_of(batches):
    return {f"c/{4 * batch + row}#speech" for batch in batches for row in range(4)}


def test_racing_processes_lose_nothing(store):
    """Two writers in two processes, 15 commits each at the same time."""
    writers = [start_writer(store.folder, 100 * number, 15) for number in range(2)]
    assert [writer.wait() for writer in writers] == [0, 0]
    store.refresh()
    assert store.ids("shared") == ids_of([*range(15), *range(100, 115)])
    assert store.version.version == 31
    assert verify(store.folder, deep=True) == []


def test_a_killed_writer_loses_no_acknowledged_row(store):
    """SIGKILL at random moments: every acknowledged batch is there once, none in half, the newest version is whole."""
    acknowledged: set[int] = set()
    for moment in np.random.default_rng(0).uniform(0.0, 0.2, size=6):
        writer = start_writer(store.folder, store.version.rows // 4, 10_000)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        time.sleep(moment)
        writer.send_signal(signal.SIGKILL)
        acknowledged |= {int(line) for line in writer.stdout.read().split()}
        writer.wait()
        store = Store(store.folder)
        assert store.broken == ()
        assert ids_of(acknowledged) <= store.ids("shared")
        assert store.ids("shared") == ids_of(range(store.version.rows // 4))
    assert store.version.rows > 0
    assert verify(store.folder, deep=True) == []
