"""The micro-batches of one stream: buckets in two dimensions, a shuffle with locality, any epoch and position at once.

Rows fall into cells of like length (seconds, and inside them phones). Cells, and so the number of micro-batches, are
the same in every epoch; an epoch shuffles the rows of each cell and the sequence of micro-batches. The shuffle keeps
to windows: blocks of neighbouring manifest rows are drawn in random order, a few dozen to a window, rows mix freely
inside a window and windows follow each other, so that a reader works on a few stretches of a few shards at a time.

A cell is sorted only when a micro-batch of it is wanted. All randomness is a hash of (seed, epoch, row), computed in
integers: the same on every machine, with no generator to wind forward.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from antiphon.seed import derive_seed

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]

_MAX_TICKS = 1 << 16  # lengths are told apart in ticks up to this many; longer ones share the last
_TICK_SEC = 0.01
_MAX_PHONES = 1 << 12
_EPOCHS_KEPT = 2  # a step may take its micro-batches from the end of one epoch and the beginning of the next


@dataclass(frozen=True, kw_only=True)
class Caps:
    """What a micro-batch may hold at most, padding included."""

    seconds: float
    phones: int
    samples: int


@dataclass(frozen=True, kw_only=True)
class Shuffle:
    """How far neighbours in the manifest are mixed: windows of `window_blocks` blocks of `block_rows` rows."""

    block_rows: int
    window_blocks: int


class Order:
    """The micro-batches of every epoch of one stream.

    rows (N,) ids in the order of the manifest; seconds (N,) and phones (N,) where the stream has that side. Each row
    must fit the caps by itself.
    """

    def __init__(
        self,
        rows: Ints,
        seconds: Floats | None,
        phones: Ints | None,
        *,
        caps: Caps,
        max_buckets: int,
        shuffle: Shuffle,
        seed: int,
    ) -> None:
        self._seed, self._shuffle = seed, shuffle
        cells = _cells(seconds, phones, caps, max_buckets)
        by_cell = np.argsort(cells, kind="stable").astype(np.int32)  # radix sort of 16-bit keys
        self._rows = rows[by_cell]
        sizes = np.bincount(cells)
        sizes = sizes[sizes > 0]
        self._cell_start = np.concatenate([[0], np.cumsum(sizes)])
        capacity = np.full(len(sizes), caps.samples)
        for lengths, cap in ((seconds, caps.seconds), (phones, float(caps.phones))):
            if lengths is not None:
                longest = np.maximum.reduceat(lengths[by_cell], self._cell_start[:-1]).astype(np.float64)
                capacity = np.minimum(capacity, np.floor(cap / longest + 1e-6).astype(np.int64))
        assert capacity.min() >= 1, "a row that does not fit the caps must be dropped before"
        counts = -(-sizes // capacity)  # a cell is cut evenly, so that no micro-batch is a small rest
        self._first_batch = np.concatenate([[0], np.cumsum(counts)])
        self._block_count = int(rows[-1]) // shuffle.block_rows + 1
        self._batches: dict[int, Ints] = {}
        self._shuffled: dict[int, dict[int, Ints]] = {}

    def __len__(self) -> int:
        """Rows of an epoch: each comes exactly once."""
        return len(self._rows)

    @property
    def num_batches(self) -> int:
        """Micro-batches of an epoch."""
        return int(self._first_batch[-1])

    @property
    def num_cells(self) -> int:
        return len(self._cell_start) - 1

    def batch(self, epoch: int, index: int) -> Ints:
        """Row ids of micro-batch `index` of an epoch."""
        return self._cut(epoch, int(self._sequence(epoch)[index]))

    def unshuffled(self) -> tuple[Ints, npt.NDArray[np.int64]]:
        """Every row id by cell, and where each micro-batch begins: sizes and padding like an epoch's, at no cost."""
        counts, sizes = np.diff(self._first_batch), np.diff(self._cell_start)
        shares = self._places() * np.repeat(sizes, counts) // np.repeat(counts, counts)
        return self._rows, np.repeat(self._cell_start[:-1], counts) + shares

    def _places(self) -> npt.NDArray[np.int64]:
        """The place of each micro-batch in its cell."""
        places: npt.NDArray[np.int64] = np.arange(self.num_batches) - np.repeat(
            self._first_batch[:-1], np.diff(self._first_batch)
        )
        return places

    def _bounds(self, batch: int) -> tuple[int, int, int]:
        """(cell, start, stop) of a micro-batch, in rows sorted by cell."""
        cell = int(np.searchsorted(self._first_batch, batch, side="right")) - 1
        first, count = int(self._first_batch[cell]), int(self._first_batch[cell + 1] - self._first_batch[cell])
        start, size = int(self._cell_start[cell]), int(self._cell_start[cell + 1] - self._cell_start[cell])
        return cell, start + (batch - first) * size // count, start + (batch - first + 1) * size // count

    def _cut(self, epoch: int, batch: int) -> Ints:
        cell, start, stop = self._bounds(batch)
        offset = int(self._cell_start[cell])
        return self._cell(epoch, cell)[start - offset : stop - offset]

    def _cell(self, epoch: int, cell: int) -> Ints:
        """The rows of a cell in the epoch's order: by window, inside a window by hash."""
        cells = _keep(self._shuffled, epoch)
        if cell not in cells:
            rows = self._rows[self._cell_start[cell] : self._cell_start[cell + 1]]
            windows = self._windows(epoch)[rows // self._shuffle.block_rows]
            cells[cell] = rows[_by_window(windows, _hash(rows, derive_seed(self._seed, "rows", epoch)))]
        return cells[cell]

    def _windows(self, epoch: int) -> npt.NDArray[np.int64]:
        """The window of each block."""
        drawn = np.argsort(_hash(np.arange(self._block_count), derive_seed(self._seed, "blocks", epoch)), kind="stable")
        windows = np.empty(self._block_count, np.int64)
        windows[drawn] = np.arange(self._block_count) // self._shuffle.window_blocks
        return windows

    def _sequence(self, epoch: int) -> Ints:
        """Micro-batches as trained on: the i-th of k of a cell lies about i/k through the windows, as its rows do."""
        if epoch not in self._batches:
            batches = np.arange(self.num_batches)
            counts = np.diff(self._first_batch)
            hashes = _hash(batches, derive_seed(self._seed, "batches", epoch))
            jitter = (hashes & np.uint64(0xFFFF)).astype(np.float64) / 0x10000
            num_windows = -(-self._block_count // self._shuffle.window_blocks)
            windows = ((self._places() + jitter) / np.repeat(counts, counts) * num_windows).astype(np.int64)
            _keep(self._shuffled, epoch)
            self._batches[epoch] = _by_window(windows, hashes).astype(np.int32)
            for old in [key for key in self._batches if key not in self._shuffled]:
                del self._batches[old]
        return self._batches[epoch]


def _keep(shuffled: dict[int, dict[int, Ints]], epoch: int) -> dict[int, Ints]:
    """The epoch's entry; the entries touched longest ago are forgotten."""
    shuffled[epoch] = shuffled.pop(epoch, {})
    while len(shuffled) > _EPOCHS_KEPT:
        del shuffled[next(iter(shuffled))]
    return shuffled[epoch]


def _by_window(windows: npt.NDArray[np.int64], hashes: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
    """Positions sorted by window, then hash."""
    keys = (windows.astype(np.uint64) << np.uint64(40)) | (hashes >> np.uint64(24))
    return np.argsort(keys, kind="stable")


def _hash(values: npt.NDArray[np.integer], seed: int) -> npt.NDArray[np.uint64]:
    """splitmix64 (Steele, Lea and Flood 2014), element by element."""
    mixed = values.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(seed)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    hashed: npt.NDArray[np.uint64] = mixed ^ (mixed >> np.uint64(31))
    return hashed


def _cells(seconds: Floats | None, phones: Ints | None, caps: Caps, max_buckets: int) -> npt.NDArray[np.uint16]:
    """The cell of each row: buckets of seconds that hold equal shares of the audio, each cut by phones in the same way.

    A cell should give some four micro-batches at least, or nothing would be left to shuffle: small corpora get few.
    """
    sides = [side for side in (seconds, phones) if side is not None]
    size = len(sides[0])
    loads = [size / caps.samples]
    loads += [float(seconds.sum(dtype=np.float64)) / caps.seconds] if seconds is not None else []
    loads += [float(phones.sum(dtype=np.float64)) / caps.phones] if phones is not None else []
    wanted = int(np.clip(max(loads) / 4, 1, max_buckets))
    num_inner = 1 if phones is None else wanted if seconds is None else max(1, round(wanted ** (1 / 3)))
    outer = np.zeros(size, np.uint16)
    if seconds is not None:
        ticks = np.minimum(seconds / _TICK_SEC, _MAX_TICKS - 1).astype(np.uint16)
        outer = _equal_shares(np.bincount(ticks, minlength=_MAX_TICKS)[None], wanted // num_inner)[0][ticks]
    if phones is None:
        return outer
    joint = outer.astype(np.int32) * _MAX_PHONES + np.minimum(phones, _MAX_PHONES - 1)
    histograms = np.bincount(joint, minlength=wanted // num_inner * _MAX_PHONES).reshape(-1, _MAX_PHONES)
    cells: npt.NDArray[np.uint16] = outer * np.uint16(num_inner) + _equal_shares(histograms, num_inner).ravel()[joint]
    return cells


def _equal_shares(histograms: npt.NDArray[np.int64], num_buckets: int) -> npt.NDArray[np.uint16]:
    """histograms (R, L) of lengths -> bucket (R, L) of each length; the buckets of a row hold equal total length."""
    mass = histograms * (np.arange(histograms.shape[1]) + 0.5)
    middle = np.cumsum(mass, axis=1) - mass / 2
    share = middle / np.maximum(mass.sum(axis=1, keepdims=True), 1.0)
    buckets: npt.NDArray[np.uint16] = np.minimum(share * num_buckets, num_buckets - 1).astype(np.uint16)
    return buckets
