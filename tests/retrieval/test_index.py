"""FAISS indexes find what exact search finds, say how much of it with queries of the other modality, or are refused."""

import importlib

import numpy as np
import pyarrow as pa
import pytest

from antiphon.retrieval import exact, index
from antiphon.retrieval.index import Index, IndexConfig, build
from antiphon.retrieval.store import Store
from antiphon.retrieval.verify import verify
from antiphon.retrieval.versions import Encoder

ENCODER = Encoder(checkpoint="c0ffee")
DIM = 24


def two_modalities(count, seed=0, gap=0.5, clusters=40):
    """speech and text (count, DIM): pairs near one of some topics; text lies off to one side, as real modalities do."""
    generator = np.random.default_rng(seed)
    topics = generator.standard_normal((clusters, DIM))
    meaning = topics[generator.integers(0, clusters, count)] + 0.6 * generator.standard_normal((count, DIM))
    sides = [meaning + 0.2 * generator.standard_normal((count, DIM)) for _ in range(2)]
    sides[1] = sides[1] + gap * generator.standard_normal(DIM)
    return [(side / np.linalg.norm(side, axis=1, keepdims=True)).astype(np.float32) for side in sides]


def fill(folder, speech, text, tap="shared", parts=2):
    store = Store.create(folder, dim=DIM, encoder=ENCODER)
    for modality, vectors in (("speech", speech), ("text", text)):
        for rows in np.array_split(np.arange(len(vectors)), parts):
            if len(rows):
                names = pa.table({"id": [f"c/{row}#{modality}" for row in rows]})
                names = names.append_column("tap", pa.array([tap] * len(rows)))
                names = names.append_column("modality", pa.array([modality] * len(rows)))
                store.add(vectors[rows], names, encoder=ENCODER)
    return store


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return fill(tmp_path_factory.mktemp("store") / "s", *two_modalities(4000))


def test_flat_equals_exact(store):
    """The same rows in the same order, over several fragments, and the reported recall is that of an exact index."""
    for info in build(store, IndexConfig(kind="flat")):
        assert (info.recall_at_1, info.recall_at_10, info.rows, info.num_probes) == (1.0, 1.0, 4000, 0)
        entry = store.version.index_of("shared", info.modality)
        assert entry.info == info
        queries = store.read("shared", info.query_modality)[0][:50]
        scores, rows = Index(store, entry).search(queries, 7)
        want_scores, want_rows = exact.search(queries, store.parts("shared", info.modality), 7)
        assert np.array_equal(rows, want_rows)
        np.testing.assert_allclose(scores, want_scores, atol=1e-6)
    assert verify(store.folder, deep=True) == []


def test_ivf_reports_the_recall_that_it_has(store):
    """The figures hold for all queries of the other modality, far beyond those that they were measured with."""
    for info in build(store, IndexConfig(kind="ivf_flat", num_queries=500)):
        assert 1 <= info.num_probes <= info.num_lists // 2
        assert min(info.recall_at_1, info.recall_at_10) >= info.target_recall
        queries = store.read("shared", info.query_modality)[0].astype(np.float32)
        _, rows = Index(store, store.version.index_of("shared", info.modality)).search(queries, 10)
        _, truth = exact.search(queries, store.parts("shared", info.modality), 10)
        found = np.mean([len(set(a) & set(b)) / 10 for a, b in zip(rows.tolist(), truth.tolist(), strict=True)])
        assert found == pytest.approx(info.recall_at_10, abs=0.02)
        assert np.mean(rows[:, 0] == truth[:, 0]) == pytest.approx(info.recall_at_1, abs=0.02)
        assert info.bytes_per_vector > 4 * DIM


def test_num_probes_is_a_matter_of_one_call(store):
    info = build(store, IndexConfig(kind="ivf_flat"))[0]
    searched = Index(store, store.version.index_of("shared", "speech"))
    queries = store.read("shared", "text")[0][:200]
    before = searched.search(queries, 10)[1]
    few, all_cells = (searched.search(queries, 10, num_probes=n)[1] for n in (1, info.num_lists))
    assert np.array_equal(all_cells, exact.search(queries, store.parts("shared", "speech"), 10)[1])
    assert not np.array_equal(few, all_cells)
    assert np.array_equal(searched.search(queries, 10)[1], before)


def test_below_the_target_nothing_is_published(store):
    number = store.version.version
    with pytest.raises(ValueError, match=r"must find 0\.950 .* but finds .* with 1 of .* nothing is published"):
        build(store, IndexConfig(kind="ivf_flat", num_probes=1))
    assert store.refresh().version == number


def test_queries_of_the_rows_own_modality_would_flatter(tmp_path):
    """What the cross-modal measure is for: with few cells looked into, rows find themselves and text does not."""
    speech, text = two_modalities(4000, gap=1.5)
    store = fill(tmp_path / "s", speech, text)
    info = build(store, IndexConfig(kind="ivf_flat", num_probes=2, target_recall=0.0))[0]
    searched = Index(store, store.version.index_of("shared", "speech"))
    own = np.mean(searched.search(speech, 1)[1][:, 0] == np.arange(len(speech)))
    assert own > 0.95 > info.recall_at_1


def test_recall_counts_any_of_rows_that_tie(tmp_path):
    """A text that occurs 50 times: which ten of the fifty are found is no matter of recall."""
    speech, text = two_modalities(1200)
    text = np.repeat(text[:24], 50, axis=0)
    infos = build(fill(tmp_path / "s", speech, text), IndexConfig(kind="flat"))
    assert [(info.recall_at_1, info.recall_at_10) for info in infos] == [(1.0, 1.0)] * 2


def test_auto_is_exact_up_to_the_stated_size(store):
    for info in build(store, IndexConfig()):
        assert (info.kind, info.recall_at_10, info.num_lists, info.bytes_per_vector) == ("exact", 1.0, 0, 2 * DIM)
        assert store.version.index_of("shared", info.modality).file is None
    assert {info.kind for info in build(store, IndexConfig(max_exact_rows=100))} == {"ivf_flat"}


def test_the_same_rows_are_not_indexed_twice_alike(store):
    infos = build(store, IndexConfig(kind="flat", seed=7))
    number = store.version.version
    assert build(store, IndexConfig(kind="flat", seed=7)) == infos
    assert store.refresh().version == number
    build(store, IndexConfig(kind="flat", seed=8))
    assert store.version.version == number + 1


def test_an_index_is_of_the_rows_that_it_was_built_from(tmp_path):
    """After more rows the old index is not used, after a new one it is; a set of one row can be indexed exactly."""
    speech, text = two_modalities(301)
    store = fill(tmp_path / "s", speech[:300], text[:300])
    build(store, IndexConfig(kind="flat"))
    more = pa.table({"id": ["c/300#speech"], "tap": ["shared"], "modality": ["speech"]})
    store.add(speech[300:], more, encoder=ENCODER)
    assert store.version.index_of("shared", "speech") is None
    assert store.version.index_of("shared", "text") is not None
    build(store, IndexConfig(kind="flat"))
    assert len(store.version.indexes) == 2
    assert store.version.index_of("shared", "speech").info.rows == 301


def test_one_modality_alone(tmp_path):
    store = fill(tmp_path / "s", two_modalities(30)[0], [])
    assert [info.kind for info in build(store, IndexConfig())] == ["exact"]
    with pytest.raises(ValueError, match="must be measured with queries of text"):
        build(store, IndexConfig(kind="flat"))
    with pytest.raises(ValueError, match="holds shared/speech"):
        build(store, IndexConfig(tap="middle"))


def test_a_flipped_byte_in_an_index_is_named_and_not_read(tmp_path):
    store = fill(tmp_path / "s", *two_modalities(300))
    build(store, IndexConfig(kind="flat"))
    entry = store.version.index_of("shared", "speech")
    path = store.folder / entry.file.path
    data = path.read_bytes()
    path.write_bytes(data[:500] + bytes([data[500] ^ 4]) + data[501:])
    store = Store(store.folder)
    with pytest.raises(ValueError, match=r"index\.faiss must have the hash"):
        Index(store, entry)
    assert [path.parent.name in problem for problem in verify(store.folder, deep=True)] == [True]


def test_bad_queries_are_refused_before_faiss_sees_them(store):
    build(store, IndexConfig(kind="flat"))
    searched = Index(store, store.version.index_of("shared", "speech"))
    for bad, words in [(np.full((1, DIM), np.nan), "finite"), (np.zeros((1, DIM)), "zero"), (np.ones((1, 3)), "shape")]:
        with pytest.raises(ValueError, match=words):
            searched.search(bad.astype(np.float32), 3)


def test_faiss_missing_or_twice_is_said_with_the_extras(store, monkeypatch):
    def refuse(name):
        raise ImportError(name)

    with monkeypatch.context() as patch:
        patch.setattr(importlib, "import_module", refuse)
        with pytest.raises(ValueError, match=r"antiphon\[cpu\] or antiphon\[gpu\], never both"):
            build(store, IndexConfig(kind="flat", seed=99))
        assert [info.kind for info in build(store, IndexConfig(kind="exact"))] == ["exact", "exact"]
    monkeypatch.setattr(index, "version", lambda name: "1.0")
    with pytest.raises(ValueError, match="faiss-cpu and faiss-gpu"):
        build(store, IndexConfig(kind="flat", seed=99))
