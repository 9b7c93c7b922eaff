"""Exact top-k search by inner product: scan in low precision with a proven error bound, decide in fp64.

The scan gives each row an approximate score, at most `error` from the true one. When t is the k-th best approximate
score so far, a row below t - 2 error cannot be among the true top k. The few rows that remain are scored again in fp64
and ordered by score and row. So the precision and the order of summation of the scan change the time and never the
answer, and rows that are equal tie exactly: the lower one wins. The bounds, for a query q and rows of norm at most X:

    the query rounded by d (Euclidean)  d X
    rows rounded with unit u            u |q| X          bfloat16: 2^-8; fp16 and fp32 rows are scanned as stored
    D products summed in fp32           4 D 2^-24 |q| X  the usual gamma_D, four times for units that truncate
    scores rounded with unit u          u |q| X

(Higham, Accuracy and Stability of Numerical Algorithms, section 3.1, with Cauchy-Schwarz.)
"""

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

Vectors = npt.NDArray[Any] | Tensor

_TILE_BYTES = 1 << 22  # of converted rows: they stay in the cache between conversion and product
_BLOCK_SCORES = {"cpu": 1 << 20, "cuda": 1 << 27}  # that the scan makes before it looks at them
_BLOCK_ROWS = {"cpu": 1 << 20, "cuda": 1 << 22}
_FIRST_ROWS = 1 << 16  # of the first block, which is sorted to find where to start
_GROUP = 16  # rows whose best score is looked at first
_MAX_QUERIES = 512  # in one pass over the rows
_MIN_BFLOAT16_QUERIES = 8  # below, the faster product saves less than the conversion of the rows costs
_MAX_FP16_NORM = 6e4  # above, an fp16 score may overflow
_POOL_SLACK = 1 << 14  # new candidates, beside k a query, after which the pool is looked through
_MAX_UNDECIDED = 1 << 21  # candidates known approximately: bounds memory when a great many rows tie
_RESCORED = 1 << 10  # rows that are converted to fp32 or fp64 at a time outside of the scan


def search(
    queries: Vectors, base: Vectors | Sequence[Vectors], k: int, *, device: str = "cpu"
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    """queries (Q, D), base (N, D) fp16 or fp32, whole or in parts -> scores (Q, k') and rows (Q, k'), k' = min(k, N).

    Best first, ties by the lower row; rows count through the parts. Raises ValueError for a query that is not finite.
    """
    return Exact([base] if isinstance(base, np.ndarray | Tensor) else base, device=device).search(queries, k)


class Exact:
    """The rows to search, kept for many calls; on a GPU they are copied there once, in the type that they have."""

    def __init__(self, parts: Sequence[Vectors], *, max_norm: float | None = None, device: str = "cpu") -> None:
        """parts of (n, D), all fp16 or all fp32; max_norm bounds their norms (a pass over them finds it otherwise)."""
        self.parts = [_tensor(part).to(device) for part in parts if len(part)]
        types, sizes = {part.dtype for part in self.parts}, {tuple(part.shape[1:]) for part in self.parts}
        if len(types) != 1 or len(sizes) != 1 or not types <= {torch.float16, torch.float32}:
            raise ValueError(
                f"rows must be fp16 or fp32 vectors of one size, but are {types or 'none'} of sizes {sizes}"
            )
        self.dtype, self.dim, self.device = self.parts[0].dtype, self.parts[0].shape[1], self.parts[0].device
        self.starts = torch.tensor([0, *(len(part) for part in self.parts)], device=self.device).cumsum(0)
        self.rows = int(self.starts[-1])
        self.max_norm = self._measure_norm() if max_norm is None else max_norm
        if not np.isfinite(self.max_norm):
            raise ValueError(f"rows must be finite, but the largest norm is {self.max_norm}; verify the store")

    def search(self, queries: Vectors, k: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
        """queries (Q, D) -> scores (Q, k') fp32 and rows (Q, k') int64, best first, k' = min(k, N)."""
        exact = _tensor(queries).to(self.device).double()
        check_queries(exact, self.dim, k)
        found = [self._pass(chunk, min(k, self.rows)) for chunk in torch.split(exact, _MAX_QUERIES)]
        scores, rows = (torch.cat(side) for side in zip(*found, strict=True))
        return scores.float().cpu().numpy(), rows.cpu().numpy()

    def _pass(self, queries: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """queries (Q, D) fp64 -> true scores (Q, k) fp64 and rows (Q, k), by one scan of all rows."""
        # Norms near 1, so that any query fits fp16; by powers of two, so that no score and no tie changes.
        scale = torch.exp2(-queries.norm(dim=1, keepdim=True).log2().round())
        queries = queries * scale
        scan = _choose_scan(queries, self.dtype, self.max_norm)
        pool = _Pool(len(queries), k, scan.error, lambda query, row: self._true_scores(queries[query], row))
        kind = self.device.type
        size = min(_BLOCK_ROWS[kind], _BLOCK_SCORES[kind] // len(queries)) // _GROUP * _GROUP
        for start, block in self._blocks(size, first=min(size, _FIRST_ROWS)):
            pool.take(scan.scores(block), start)
        scores, rows = pool.result()
        return scores / scale, rows

    def _measure_norm(self) -> float:
        norms = [block.float().norm(dim=1).max() for _, block in self._blocks(_RESCORED)]
        return float(torch.stack(norms).max()) * 1.0001  # for the rounding of the norm itself

    def _blocks(self, size: int, first: int | None = None) -> Iterator[tuple[int, Tensor]]:
        """(first row, rows (n, D)) in order, n at most size, in the first block at most `first`."""
        step = first or size
        for part, row in zip(self.parts, self.starts.tolist(), strict=False):
            start = 0
            while start < len(part):
                yield row + start, part[start : start + step]
                start, step = start + step, size

    def _true_scores(self, queries: Tensor, rows: Tensor) -> Tensor:
        """queries (n, D) fp64, rows (n,) -> products (n,) fp64, each summed alike: equal rows have equal scores."""
        vectors = torch.empty(len(rows), self.dim, dtype=self.dtype, device=self.device)
        part_of = torch.searchsorted(self.starts, rows, right=True) - 1
        for number in torch.unique(part_of).tolist():
            mine = (part_of == number).nonzero().squeeze(1)
            vectors[mine] = self.parts[number][rows[mine] - self.starts[number]]
        return (vectors.double() * queries).sum(dim=1)


def check_queries(queries: Tensor, dim: int, k: int) -> None:
    """Raise ValueError unless queries are of shape (Q, dim), finite and not zero, and Q and k are at least 1."""
    if k < 1:
        raise ValueError(f"k must be at least 1, but is {k}; ask for one hit or more")
    if queries.ndim != 2 or queries.shape[1] != dim or len(queries) == 0:
        raise ValueError(f"queries must have the shape (Q, {dim}), but have {tuple(queries.shape)}; embed them alike")
    norms = queries.double().norm(dim=1)
    bad = (~torch.isfinite(norms) | (norms == 0)).nonzero()
    if len(bad):
        row = int(bad[0])
        raise ValueError(f"each query must be finite and not zero, but query {row} has norm {float(norms[row])}")


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """scores: rows (R, D) -> approximate scores (Q, R) fp32; error (Q,) bounds how far each is from the true one."""

    scores: Callable[[Tensor], Tensor]
    error: Tensor


def _choose_scan(queries: Tensor, dtype: torch.dtype, max_norm: float) -> _Scan:
    """The fastest way to score rows of a type against queries (Q, D) fp64, of norms near 1, on their device."""
    fp16 = dtype == torch.float16 and max_norm < _MAX_FP16_NORM
    if queries.device.type == "cuda":
        # fp32 may be multiplied as TF32, with 10 bits of mantissa, by the user's settings.
        kind, rounding = (torch.float16, 0.0) if fp16 else (torch.float32, 2 * 2.0**-11)
    elif fp16 and len(queries) == 1:
        kind, rounding = torch.float16, 2.0**-11
    elif len(queries) >= _MIN_BFLOAT16_QUERIES and _has_bfloat16():
        kind, rounding = torch.bfloat16, 2 * 2.0**-8
    else:  # a lower precision of fp32 products, where the user has set one, may be bfloat16
        kind, rounding = torch.float32, 0.0 if torch.get_float32_matmul_precision() == "highest" else 2 * 2.0**-8
    low = queries.to(kind)
    rounded, norm = (low.double() - queries).norm(dim=1), queries.norm(dim=1)
    error = max_norm * (rounded + norm * (rounding + 4 * queries.shape[1] * 2.0**-24)) * 1.02 + 1e-30
    return _Scan(scores=_scorer(low), error=error.float())


def _scorer(queries: Tensor) -> Callable[[Tensor], Tensor]:
    """queries (Q, D) in the type of the scan -> the function from rows (R, D) of any type to scores (Q, R) fp32."""

    def on_gpu(rows: Tensor) -> Tensor:
        if queries.dtype == torch.float16:
            return torch.mm(queries, rows.T, out_dtype=torch.float32)
        return torch.mm(queries, rows.to(queries.dtype).T)

    def one_query(rows: Tensor) -> Tensor:
        return torch.mv(rows, queries[0]).unsqueeze(0).float()

    def by_tiles(rows: Tensor) -> Tensor:
        if rows.dtype == queries.dtype:
            return torch.mm(queries, rows.T).float()
        size = max(1, _TILE_BYTES // (4 * rows.shape[1]))
        fp32, low = torch.empty(size, rows.shape[1]), torch.empty(size, rows.shape[1], dtype=queries.dtype)
        scores = torch.empty(len(queries), len(rows), dtype=queries.dtype)
        for start in range(0, len(rows), size):
            some = rows[start : start + size]
            tile = fp32[: len(some)].copy_(some)
            if queries.dtype != torch.float32:
                tile = low[: len(some)].copy_(tile)  # in two steps: fp16 to bfloat16 at once is five times slower
            torch.mm(queries, tile.T, out=scores[:, start : start + len(some)])
        return scores.float()

    if queries.device.type == "cuda":
        return on_gpu
    return one_query if queries.dtype == torch.float16 else by_tiles


class _Pool:
    """The rows that may still be among the k best of each query; at the end they are scored truly and ordered."""

    def __init__(self, num_queries: int, k: int, error: Tensor, decide: Callable[[Tensor, Tensor], Tensor]) -> None:
        """error (Q,); decide: queries (n,) and rows (n,) by number -> true scores (n,) fp64."""
        self.num_queries, self.k, self.error, self.decide = num_queries, k, error, decide
        self.threshold = torch.full_like(error, -torch.inf)  # (Q,): approximate scores below it are out
        self.query = torch.empty(0, dtype=torch.int64, device=error.device)
        self.row, self.score = self.query.clone(), torch.empty(0, device=error.device)
        self.new: list[tuple[Tensor, Tensor, Tensor]] = []
        self.num_new = 0

    def take(self, scores: Tensor, first_row: int) -> None:
        """Look at the approximate scores (Q, R) of the next rows."""
        if first_row == 0 and scores.shape[1] >= self.k:
            self._raise(scores.topk(self.k, dim=1).values[:, -1] - 2 * self.error)
        # The best of each group of rows first: most groups have none that passes, and a pass over all is saved.
        size = _GROUP if scores.shape[1] % _GROUP == 0 else 1
        grouped = scores.view(self.num_queries, size, -1)
        query, group = (grouped.amax(dim=1) >= self.threshold.unsqueeze(1)).nonzero(as_tuple=True)
        if len(query) == 0:
            return
        some = grouped[query, :, group]  # (groups that passed, size)
        place, member = (some >= self.threshold[query].unsqueeze(1)).nonzero(as_tuple=True)
        query, row = query[place], member * grouped.shape[2] + group[place]
        self.new.append((query, row + first_row, some[place, member]))
        self.num_new += len(query)
        if self.num_new > len(self.query) + self.num_queries * self.k + _POOL_SLACK:
            self._prune()

    def result(self) -> tuple[Tensor, Tensor]:
        """True scores (Q, k) fp64 and rows (Q, k), best first, ties by the lower row."""
        self._prune()
        scores = self._keep_best()
        return scores.view(self.num_queries, self.k), self.row.view(self.num_queries, self.k)

    def _prune(self) -> None:
        """Raise the thresholds to what the pool shows and drop what is below them."""
        self.query, self.row, self.score = (
            torch.cat(column) for column in zip((self.query, self.row, self.score), *self.new, strict=True)
        )
        self.new, self.num_new = [], 0
        order = self.score.argsort(descending=True, stable=True)
        order = order[self.query[order].argsort(stable=True)]
        place = self._place(self.query[order])
        at_k = order[place == self.k - 1]
        if len(at_k) == self.num_queries:
            self._raise(self.score[at_k] - 2 * self.error)
            self._select((self.score >= self.threshold[self.query]).nonzero().squeeze(1))
        if len(self.query) > self.num_queries * self.k + _MAX_UNDECIDED:
            kth = self._keep_best().view(self.num_queries, self.k)[:, -1]
            self._raise(kth.float() - 1.01 * self.error)  # 0.01 for the rounding to fp32

    def _keep_best(self) -> Tensor:
        """Keep the k truly best rows of each query, in order; returns their true scores, flat."""
        pairs = zip(torch.split(self.query, _RESCORED), torch.split(self.row, _RESCORED), strict=True)
        scores = torch.cat([self.decide(query, row) for query, row in pairs])
        order = self.row.argsort(stable=True)
        order = order[scores[order].argsort(descending=True, stable=True)]
        order = order[self.query[order].argsort(stable=True)]
        order = order[self._place(self.query[order]) < self.k]
        self._select(order)
        return scores[order]

    def _place(self, sorted_query: Tensor) -> Tensor:
        """Query numbers in order -> the place of each entry among those of its query, from 0."""
        counts = torch.bincount(sorted_query, minlength=self.num_queries)
        first = counts.cumsum(0) - counts
        return torch.arange(len(sorted_query), device=sorted_query.device) - first[sorted_query]

    def _select(self, entries: Tensor) -> None:
        self.query, self.row, self.score = self.query[entries], self.row[entries], self.score[entries]

    def _raise(self, threshold: Tensor) -> None:
        self.threshold = torch.maximum(self.threshold, threshold)


@functools.cache
def _has_bfloat16() -> bool:
    """Does this processor multiply bfloat16 in hardware?"""
    able = torch.cpu.get_capabilities()
    return bool(able.get("avx512_bf16") or able.get("amx_bf16"))


def _tensor(vectors: Vectors) -> Tensor:
    if isinstance(vectors, Tensor):
        return vectors
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that mapped files are read-only; they are only read
        return torch.from_numpy(vectors)
