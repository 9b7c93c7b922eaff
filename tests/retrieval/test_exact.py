"""Exact search equals an fp64 oracle to the last row, ties included, in any precision, by any blocks and parts."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from antiphon.retrieval import exact
from antiphon.retrieval.exact import Exact, search


def oracle(queries, base, k):
    """Top k by the fp64 product, ties by row: a full sort."""
    scores = queries.astype(np.float64) @ np.concatenate(base).astype(np.float64).T
    rows = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(scores, rows, axis=1), rows


def unit(count, dim, seed, dtype=np.float16):
    vectors = np.random.default_rng(seed).standard_normal((count, dim))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(dtype)


def small_integers(count, dim, seed, dtype=np.float16):
    """Products of small integers are exact in any order of summation, and a great many of them tie."""
    return np.random.default_rng(seed).integers(-2, 3, (count, dim)).astype(dtype)


def check(queries, base, k):
    scores, rows = search(queries, base, k)
    want_scores, want_rows = oracle(queries, base, k)
    np.testing.assert_array_equal(rows, want_rows)
    np.testing.assert_allclose(scores, want_scores, rtol=1e-6, atol=1e-7)
    assert (scores.dtype, rows.dtype) == (np.float32, np.int64)


@pytest.fixture(params=["bfloat16", "no bfloat16"])
def hardware(request, monkeypatch):
    """Both kinds of processor: the bfloat16 product is computed on any, it is only slow where there is no hardware."""
    monkeypatch.setattr(exact, "_has_bfloat16", lambda: request.param == "bfloat16")


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("num_queries", [1, 3, 64])
@pytest.mark.parametrize("make", [unit, small_integers])
def test_equals_the_oracle(make, num_queries, dtype, monkeypatch, hardware):
    """Blocks of 512 rows, so that thresholds, pruning and several parts all take part."""
    monkeypatch.setattr(exact, "_BLOCK_ROWS", {"cpu": 512})
    monkeypatch.setattr(exact, "_POOL_SLACK", 64)
    base = [make(n, 24, seed=n, dtype=dtype) for n in (3000, 1, 700)]
    check(make(num_queries, 24, seed=1, dtype=np.float32), base, 10)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.integers(1, 40), min_size=1, max_size=3),
    num_queries=st.sampled_from([1, 2, 5, 50]),
    k=st.integers(1, 60),
    block=st.integers(16, 40),
    seed=st.integers(0, 10**6),
)
def test_any_shape_equals_the_oracle(rows, num_queries, k, block, seed):
    """k above N, blocks below k, one row, many ties."""
    queries = small_integers(num_queries, 5, seed, np.float32)
    queries[:, 0] = 3  # none is zero
    base = [small_integers(n, 5, seed + n) for n in rows]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(exact, "_BLOCK_ROWS", {"cpu": block})
        patch.setattr(exact, "_POOL_SLACK", 7)
        patch.setattr(exact, "_RESCORED", 13)
        check(queries, base, k)


@pytest.mark.parametrize("num_queries", [1, 70])
def test_when_all_rows_tie_the_lowest_win_in_bounded_memory(num_queries, monkeypatch):
    monkeypatch.setattr(exact, "_BLOCK_ROWS", {"cpu": 256})
    monkeypatch.setattr(exact, "_POOL_SLACK", 100)
    monkeypatch.setattr(exact, "_MAX_UNDECIDED", 100)
    largest = []
    keep_best = exact._Pool._keep_best
    monkeypatch.setattr(exact._Pool, "_keep_best", lambda pool: (largest.append(len(pool.query)), keep_best(pool))[1])
    base = np.repeat(unit(1, 32, seed=3), 5000, axis=0)
    base[4321] *= 1.5
    _, rows = search(unit(1, 32, seed=3, dtype=np.float32).repeat(num_queries, axis=0), base, 4)
    assert rows.tolist() == [[4321, 0, 1, 2]] * num_queries
    assert max(largest) < num_queries * 600  # of 5000 rows a query


def test_vectors_of_any_length_and_queries_of_any_scale():
    """Norms up to the end of fp16, where a score would overflow it, and queries far outside of it."""
    base = unit(500, 16, seed=0, dtype=np.float32) * np.logspace(-3, 4.8, 500, dtype=np.float32)[:, None]
    for scale in (1e-20, 1.0, 1e20):
        queries = unit(60, 16, seed=1, dtype=np.float32) * np.float32(scale)
        for some in (queries[:1], queries):
            check(some, [base.astype(np.float16)], 5)
            check(some, [base], 5)


def test_near_ties_below_the_precision_of_the_scan(hardware):
    """Rows that differ in the last bit of fp16 only: the scan cannot tell them apart, the answer must."""
    generator = np.random.default_rng(5)
    base = np.repeat(unit(1, 64, seed=1), 2000, axis=0)
    bits = base.view(np.uint16)
    bits ^= generator.integers(0, 2, bits.shape).astype(np.uint16)
    for num_queries in (1, 60):
        check(unit(num_queries, 64, seed=2, dtype=np.float32), [base], 10)


def test_the_error_bounds_hold(hardware):
    """Each scan's scores are within its stated error, rows and queries at their worst included."""
    base = torch.from_numpy(
        np.concatenate([unit(500, 256, seed=1), np.full((1, 256), 1 / 16 * (1 + 2**-9), np.float16)])
    )
    for count in (1, 2, 64):
        queries = torch.from_numpy(unit(count, 256, seed=2, dtype=np.float64))
        for rows in (base, base.float()):
            scan = exact._choose_scan(queries, rows.dtype, max_norm=float(base.double().norm(dim=1).max()))
            off = (scan.scores(rows).double() - queries @ rows.double().T).abs().amax(dim=1)
            assert (off <= scan.error).all()
            assert (scan.error < 0.02).all()


def test_what_cannot_be_searched_is_refused():
    base = unit(10, 4, seed=0)
    for queries, words in [
        (np.full((1, 4), np.nan, np.float32), "query 0 has norm nan"),
        (np.array([[1, 0, 0, 0], [np.inf, 0, 0, 0]], np.float32), "query 1"),
        (np.zeros((1, 4), np.float32), "has norm 0"),
        (np.ones((1, 5), np.float32), r"shape \(Q, 4\), but have \(1, 5\)"),
        (np.ones(4, np.float32), "shape"),
    ]:
        with pytest.raises(ValueError, match=words):
            search(queries, base, 3)
    with pytest.raises(ValueError, match="k must be at least 1"):
        search(base.astype(np.float32), base, 0)
    for bad in ([], [base, base[:, :2]], [base, base.astype(np.float32)], [base.astype(np.float64)]):
        with pytest.raises(ValueError, match="rows must be fp16 or fp32"):
            Exact(bad)
    spoilt = base.copy()
    spoilt[3, 1] = np.nan
    with pytest.raises(ValueError, match="rows must be finite"):
        Exact([spoilt])
