"""The batch plan of ten million rows: time and memory to make it, time to resume in it, padding against random batches.

    python tests/benchmarks/plan.py [--rows 10000000]

Prints one line a measure; the real shares are of the same lengths in micro-batches of the same sizes.
"""

import argparse
import contextlib
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from time import perf_counter, process_time

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from antiphon.audio.mel import AudioSpec
from antiphon.config import to_dict
from antiphon.data.plan import DataConfig, Phase, Stream, make_plan
from antiphon.data.preview import preview, real_share
from antiphon.data.utterance import MANIFEST_SCHEMA, MANIFEST_VERSION, Kind
from antiphon.files import sha256, write_json

ROWS_A_SHARD = 500


def write_manifest(folder: Path, num_rows: int) -> None:
    """A manifest with lengths like read and spoken speech: log-normal seconds, about 12 phones a second; no shards."""
    draw = np.random.default_rng(0)
    shards = []
    with pq.ParquetWriter(folder / "manifest.parquet", MANIFEST_SCHEMA, compression="zstd") as writer:
        for start in range(0, num_rows, 1 << 18):
            size = min(1 << 18, num_rows - start)
            seconds = np.clip(draw.lognormal(1.9, 0.6, size), 0.3, 35.0).astype(np.float32)
            phones = np.maximum(1, seconds * draw.normal(12.0, 2.0, size).clip(6, 20)).astype(np.int32)
            rows = np.arange(start, start + size)
            names = [f"utterance-{row:09d}" for row in rows]
            columns = {
                "key": names,
                "split": ["train"] * size,
                "kind": ["paired"] * size,
                "shard": [f"train/{row // ROWS_A_SHARD:016x}.tar" for row in rows],
                "offset": rows % ROWS_A_SHARD * 200_000,
                "bytes": np.full(size, 200_000),
                "seconds": seconds,
                "num_phones": phones,
                "num_chars": phones,
                "text": names,
                "speaker": [""] * size,
                "language": ["en"] * size,
                "domain": ["read"] * size,
                "source": names,
                "audio_sha256": names,
                "text_sha256": names,
                "crc32": rows,
            }
            writer.write_table(
                pa.table([pa.array(columns[f.name], f.type) for f in MANIFEST_SCHEMA], schema=MANIFEST_SCHEMA)
            )
    for shard in range(-(-num_rows // ROWS_A_SHARD)):
        samples = min(ROWS_A_SHARD, num_rows - shard * ROWS_A_SHARD)
        path = f"train/{shard:016x}.tar"
        shards.append({"path": path, "sha256": "0" * 64, "bytes": 200_000 * samples, "samples": samples, "hours": 1.0})
    head = {
        "version": MANIFEST_VERSION,
        "corpus": "synthetic",
        "audio": to_dict(AudioSpec()),
        "config": {},
        "inputs": {},
        "plan": "",
        "code_version": "",
        "normalizer_version": "",
        "counts": {"train": {"paired": num_rows}},
        "hours": {"train": 0.0},
        "rejects": {},
        "manifest_sha256": sha256(folder / "manifest.parquet"),
        "rejects_sha256": "",
        "shards": shards,
    }
    write_json(folder / "manifest.json", head)


def measure(folder: Path, streams: Sequence[Kind]) -> None:
    """Runs in a process of its own, so that the peak of memory is the plan's."""
    config = DataConfig(
        streams={name: Stream(kind=name, sources=("paired",)) for name in streams},
        phases=(
            Phase(micro_batches={streams[0]: 4}, steps=1000),
            Phase(micro_batches=dict.fromkeys(streams, 4)),
        ),
        max_batch_sec=240.0,
    )
    before = peak_gib()
    with timed(f"plan of {', '.join(streams)}"):
        plan = make_plan([folder], config, seed=1)
    with timed("its preview"):
        print(preview(plan, num_steps=100_000))
    with timed("resume at step 1,000,000"):
        plan.step(1_000_000)
    with timed("the next 1,000 steps"):
        for step in range(1_000_001, 1_001_001):
            plan.step(step)
    print(f"{'peak memory':32} {peak_gib():6.2f} GiB, {before:.2f} GiB of it imports")
    order = plan.orders["paired"]
    rows, begins = order.unshuffled()
    shuffled = np.random.default_rng(0).permutation(rows)
    for name, drawn in (("bucketed", rows), ("random, same sizes", shuffled)):
        lengths = (plan.columns.seconds, plan.columns.phones)
        seconds, phones = (real_share(length[drawn], begins) for length in lengths)
        print(f"real share, {name:20} seconds {seconds:.3f}, phones {phones:.3f}; {len(begins):,} micro-batches")


@contextlib.contextmanager
def timed(name: str) -> Iterator[None]:
    """Wall time, and processor time beside it: on a busy machine only the second says anything."""
    wall, processor = perf_counter(), process_time()
    yield
    print(f"{name:32} {perf_counter() - wall:6.2f} s, processor {process_time() - processor:6.2f} s", flush=True)


def peak_gib() -> float:
    """Of this process alone: getrusage would also count the parent it was forked from."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--measure", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        measure(Path(arguments.measure[0]), arguments.measure[1:])
        return
    with tempfile.TemporaryDirectory() as folder:
        with timed(f"{arguments.rows:,} rows written"):
            write_manifest(Path(folder), arguments.rows)
        for streams in (["paired"], ["speech", "paired", "text"]):
            subprocess.run([sys.executable, __file__, "--measure", folder, *streams], check=True)


if __name__ == "__main__":
    main()
