"""Files appear whole or not at all, whatever happens to the writer; hashes and seeds depend on their input alone."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from antiphon.files import hash_text, read_json, remove_leftovers, sha256, write_bytes, write_json, write_whole
from antiphon.seed import derive_seed

LOOP = """
import sys
from pathlib import Path
from antiphon.files import write_bytes
path, number = Path(sys.argv[1]), 0
while True:
    write_bytes(path, bytes([number % 256]) * 300_000)
    number += 1
"""


def test_an_error_leaves_the_old_content_and_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    write_bytes(path, b"old")

    def fail() -> None:
        with write_whole(path) as file:
            file.write(b"new, but not")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert path.read_bytes() == b"old"
    assert [one.name for one in path.parent.iterdir()] == ["file"]


def test_a_killed_writer_leaves_a_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    writer = subprocess.Popen([sys.executable, "-c", LOOP, str(path)])
    deadline = time.monotonic() + 20
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.2)
    os.kill(writer.pid, signal.SIGKILL)
    writer.wait()
    data = path.read_bytes()
    assert len(data) == 300_000
    assert len(set(data)) == 1
    remove_leftovers(tmp_path)
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_two_writers_of_one_file_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def write(letter: bytes) -> None:
        for _ in range(20):
            write_bytes(path, letter * 100_000)

    threads = [threading.Thread(target=write, args=(letter,)) for letter in (b"a", b"b")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_bytes() in (b"a" * 100_000, b"b" * 100_000)
    assert remove_leftovers(tmp_path) == 0


def test_json_keeps_letters_and_order(tmp_path: Path) -> None:
    write_json(tmp_path / "x.json", {"b": "ö", "a": [1, None]})
    assert (tmp_path / "x.json").read_text().startswith('{\n  "b": "ö"')
    assert read_json(tmp_path / "x.json") == {"b": "ö", "a": [1, None]}
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match=r"x\.json must be JSON"):
        read_json(tmp_path / "x.json")


def test_sha256_is_sha256(tmp_path: Path) -> None:
    write_bytes(tmp_path / "x", b"abc" * 1_000_000)
    told = subprocess.run(["sha256sum", tmp_path / "x"], capture_output=True, text=True, check=True)
    assert sha256(tmp_path / "x") == told.stdout.split()[0]


@given(st.lists(st.text(max_size=4), max_size=4), st.lists(st.text(max_size=4), max_size=4))
def test_a_hash_tells_lists_apart_however_they_are_cut(one: list[str], other: list[str]) -> None:
    assert (hash_text(*one) == hash_text(*other)) == (one == other)


def test_seeds_are_fixed_and_independent() -> None:
    assert derive_seed(0, "weights") == derive_seed(0, "weights")
    seeds = {derive_seed(root, "step", step, part) for root in range(3) for step in range(50) for part in range(3)}
    assert len(seeds) == 3 * 50 * 3
    assert all(0 <= seed < 1 << 63 for seed in seeds)
    program = "from antiphon.seed import derive_seed; print(derive_seed(7, 'plan', 3))"
    told = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONHASHSEED": salt},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for salt in ("1", "2")
    ]
    assert told == [f"{derive_seed(7, 'plan', 3)}\n"] * 2
