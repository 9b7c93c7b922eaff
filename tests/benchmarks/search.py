"""Exact search against FAISS' flat index and against the memory: ratios of one run on one machine.

    python tests/benchmarks/search.py [--rows 1000000] [--dim 256] [--k 10] [--threads 2]

The rows are fp16 here and fp32 in FAISS, as its flat index has them. Rounds alternate between the two, so that a busy
moment of the machine hits both; the best round of each counts.
"""

import argparse
import functools
import os
from collections.abc import Callable
from time import perf_counter

import faiss
import numpy as np
import numpy.typing as npt
import torch

from antiphon.retrieval.exact import Exact

BATCHES = (1, 8, 64, 256)
ROUNDS = 7
BLOCK = 1 << 16


def make_rows(num_rows: int, dim: int, seed: int) -> npt.NDArray[np.float16]:
    """Unit vectors with a few hundred topics, so that scores spread as those of embeddings do."""
    draw = np.random.default_rng(seed)
    topics = draw.standard_normal((300, dim), dtype=np.float32)
    rows = np.empty((num_rows, dim), np.float16)
    for start in range(0, num_rows, BLOCK):
        size = min(BLOCK, num_rows - start)
        some = topics[draw.integers(0, 300, size)] + draw.standard_normal((size, dim), dtype=np.float32)
        rows[start : start + size] = some / np.linalg.norm(some, axis=1, keepdims=True)
    return rows


def best_of(rounds: int, *calls: Callable[[], object]) -> list[float]:
    """Seconds of the best round of each call, the rounds of all of them alternating."""
    best = [float("inf")] * len(calls)
    for _ in range(rounds):
        for number, call in enumerate(calls):
            started = perf_counter()
            call()
            best[number] = min(best[number], perf_counter() - started)
    return best


def check(rows: npt.NDArray[np.float16], queries: npt.NDArray[np.float32], engine: Exact, k: int) -> str:
    """Are rows and order those of an fp64 product, ties by row?"""
    found = engine.search(queries, k)[1]
    blocks = (rows[start : start + BLOCK] for start in range(0, len(rows), BLOCK))
    wide = np.concatenate([queries.astype(np.float64) @ block.astype(np.float64).T for block in blocks], axis=1)
    return "equal" if np.array_equal(found, np.argsort(-wide, axis=1, kind="stable")[:, :k]) else "DIFFERENT"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--dim", type=int, default=256)
    parser.add_argument("--k", type=int, default=10)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    faiss.omp_set_num_threads(given.threads)

    rows = make_rows(given.rows, given.dim, seed=0)
    queries = make_rows(max(BATCHES), given.dim, seed=1).astype(np.float32)
    engine = Exact([rows])
    peer = faiss.IndexFlatIP(given.dim)
    for start in range(0, given.rows, BLOCK):
        peer.add(rows[start : start + (BLOCK)].astype(np.float32))
    about = f"{given.threads} threads, torch {torch.__version__}, faiss {faiss.__version__}"
    print(f"{given.rows:,} x {given.dim}, top {given.k}, {about}")
    print(f"rows and order against fp64: {check(rows, queries[:20], engine, given.k)}")
    compare(rows, queries, engine, peer, given.k)


def compare(
    rows: npt.NDArray[np.float16],
    queries: npt.NDArray[np.float32],
    engine: Exact,
    peer: faiss.IndexFlatIP,
    k: int,
) -> None:
    """A line a batch size: both engines, our share of a plain read of the rows, what a batch gains over one query."""
    words = torch.from_numpy(rows.view(np.float32))
    heads = ("queries", "ours ms", "faiss ms", "ours q/s", "ours/faiss", "GB/s", "of read", "batch/single")
    print(" ".join(f"{head:>12}" for head in heads))
    single = 0.0
    for size in BATCHES:
        some = queries[:size]
        ours, theirs, read = best_of(
            ROUNDS, functools.partial(engine.search, some, k), functools.partial(peer.search, some, k), words.sum
        )
        single = single or 1 / ours
        shown = (
            f"{size}", f"{ours * 1e3:.1f}", f"{theirs * 1e3:.1f}", f"{size / ours:,.0f}", f"{theirs / ours:.2f}",
            f"{rows.nbytes / ours / 1e9:.1f}", f"{read / ours:.0%}", f"{size / ours / single:.1f}",
        )  # fmt: skip
        print(" ".join(f"{fact:>12}" for fact in shown))


if __name__ == "__main__":
    main()
