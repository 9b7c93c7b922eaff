"""Ingest of one process against the least that anyone must do: decode, resample and encode FLAC in a plain loop.

    python tests/benchmarks/ingest.py [--corpus ../shared/data/read_english] [--rounds 5]

Without a corpus it makes 400 recordings of tones in noise, 5 s each at 22,050 Hz. Contestants take turns in one
process, and the best round of each counts, in seconds of the process, so that other work on the machine disturbs
little. What ingest does beyond the loop: text and phones, tars and hashes, markers and manifest, synced.
"""

import argparse
import io
import tempfile
from pathlib import Path
from time import process_time

import numpy as np
import soundfile
import soxr

from antiphon.audio.waveform import AudioFile, write_wav
from antiphon.data.ingest import IngestConfig, ingest, read_corpus
from antiphon.data.utterance import Utterance

RATE = 16_000


def plain_loop(paths: list[Path]) -> float:
    """Decode, resample and encode every file, keep nothing; seconds of the process."""
    start = process_time()
    for path in paths:
        samples, rate = soundfile.read(path, dtype="float32")
        if rate != RATE:
            samples = soxr.resample(samples, rate, RATE)
        soundfile.write(io.BytesIO(), samples, RATE, format="FLAC", subtype="PCM_16")
    return process_time() - start


def whole_ingest(reader: str, options: dict[str, object]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        config = IngestConfig(corpus="bench", max_reject_share=1.0)
        start = process_time()
        ingest(reader, options, Path(folder), config, progress=False)
        return process_time() - start


def finished_ingest(reader: str, options: dict[str, object]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        config = IngestConfig(corpus="bench", max_reject_share=1.0)
        ingest(reader, options, Path(folder), config, progress=False)
        start = process_time()
        ingest(reader, options, Path(folder), config, progress=False)
        return process_time() - start


def make_corpus(folder: Path) -> None:
    draw = np.random.default_rng(0)
    time = np.arange(5 * 22_050) / 22_050
    for row in range(400):
        tone = 0.3 * np.sin(2 * np.pi * (150 + row) * time) + 0.02 * draw.standard_normal(len(time))
        write_wav(folder / f"seven_{row}.wav", tone.astype(np.float32), 22_050)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--corpus", type=Path, help="a Kaldi directory, or a folder of them")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        reader, options = "kaldi", {"path": arguments.corpus}
        if arguments.corpus is None:
            make_corpus(Path(made))
            reader, options = "folder", {"path": Path(made), "pattern": r"(?P<text>[a-z]+)_\d+"}
        found = [u for u in read_corpus(reader, options) if isinstance(u, Utterance) and isinstance(u.audio, AudioFile)]
        paths = [u.audio.path for u in found if isinstance(u.audio, AudioFile)]
        hours = sum(soundfile.info(path).duration for path in paths) / 3600
        loop, whole = [], []
        for _ in range(arguments.rounds + 1):  # the first round of each warms caches and dictionaries
            loop.append(plain_loop(paths))
            whole.append(whole_ingest(reader, options))
        loop_sec, whole_sec = min(loop[1:]), min(whole[1:])
        again_sec = finished_ingest(reader, options)
    print(f"corpus          {len(paths):,} recordings, {hours:.2f} h")
    print(f"plain loop      {loop_sec:8.2f} s  {hours * 3600 / loop_sec:8,.0f} x real time")
    print(f"ingest          {whole_sec:8.2f} s  {hours * 3600 / whole_sec:8,.0f} x real time")
    print(f"ratio           {loop_sec / whole_sec:8.2f}    of the plain loop's speed")
    print(f"finished again  {again_sec:8.2f} s")


if __name__ == "__main__":
    main()
