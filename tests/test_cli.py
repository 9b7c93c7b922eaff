"""The command line: quick to answer, one sentence for bad input, exit codes that scripts can rely on."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from antiphon import cli, jobs

Run = Callable[..., "subprocess.CompletedProcess[str]"]
HEAVY = ("torch", "ray", "numpy", "pyarrow", "sentencepiece", "wandb", "faiss", "jiwer")


def test_help_imports_nothing_heavy() -> None:
    program = f"""
import sys
from antiphon.cli import main
try:
    main(["--help"])
except SystemExit:
    pass
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stderr.strip() == "[]"
    assert all(f"\n    {verb}" in done.stdout for verb in jobs.VERBS)


@pytest.mark.parametrize("verb", sorted(jobs.VERBS))
def test_every_verb_runs_and_shows_its_arguments(verb: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.VERBS[verb] in cli.RUN
    with pytest.raises(SystemExit) as end:
        cli.main([verb, "--help"])
    assert end.value.code == 0
    assert (jobs.VERBS[verb].__doc__ or "")[:30] in capsys.readouterr().out


def test_arguments_become_a_job() -> None:
    line = "train maestro.small --shards shards/a b --tokenizer t --set optim.lr=3e-4 --set seed=1 --workers 2"
    job, target = cli.parse(line.split())
    assert job == jobs.Train(
        experiment="maestro.small", shards=("shards/a", "b"), tokenizer="t", set=("optim.lr=3e-4", "seed=1")
    )
    assert target == jobs.Target(workers=2)


def test_arguments_stand_above_the_job_file_and_the_profile(tmp_path: Path) -> None:
    job_file, profile = tmp_path / "train_x.yaml", tmp_path / "prod.yaml"
    job_file.write_text("verb: train\nexperiment: maestro.small\nshards: [x]\ntokenizer: x\n")
    profile.write_text("device: cpu\nworkers: 4\n")
    line = ["train", str(job_file), "--tokenizer", "y", "--target", str(profile), "--workers", "2"]
    job, target = cli.parse(line)
    assert (job.experiment, job.shards, job.tokenizer) == ("maestro.small", ("x",), "y")
    assert (target.device, target.workers) == ("cpu", 2)


def test_options_of_a_reader_follow_their_names() -> None:
    line = "ingest table a.tsv b.tsv --text-column sentence --limit 3 --header --out shards/own --tags x y"
    job, _ = cli.parse(line.split())
    assert job.paths == (Path("a.tsv"), Path("b.tsv"))
    assert job.options == {"text_column": "sentence", "limit": 3, "header": True, "tags": ["x", "y"]}
    job, _ = cli.parse(["ingest", "folder", "a", "--pattern", "{label}_{speaker}", "--split=test:[0-4]$", "--out", "x"])
    assert job.options == {"pattern": "{label}_{speaker}", "split": "test:[0-4]$"}


BAD = [
    (["train", "maestro.smal", "--shards", "x", "--tokenizer", "x"], "did you mean small"),
    (["train", "maestro.tiny", "--shards", "x", "--tokenizer", "x", "--set", "optim.lrr=1"], "did you mean lr"),
    (["train", "maestro.tiny", "--shards", "x"], "train.tokenizer must be given"),
    (["train", "jobs/none.yaml"], "must be a file"),
    (["train", "{folder}/ingest.yaml"], "run `antiphon ingest`"),
    (["ingest", "{folder}/ingest.yaml"], "ingest.outt is not a field"),
    (["ingest", "{folder}/broken.yaml"], "must be YAML"),
    (["doctor", "--target", "moon"], "unrecognized"),
    (["verify", "{folder}", "--target", "moon"], "cluster/moon.yaml"),
    (["verify", "{folder}"], "manifest.json"),
    (["evaluate", "nothing", "--shards", "x"], "must hold one trained run named nothing"),
    (["evaluate", "{folder}/nothing", "--shards", "x"], "nothing"),
    (["search", "{folder}/nothing", "--text", "x"], "must be an embedding store"),
    (["search", "{folder}/nothing"], "--text or --audio"),
]


@pytest.mark.parametrize(("arguments", "words"), BAD, ids=lambda value: " ".join(value)[:50])
def test_bad_input_is_one_sentence(
    arguments: list[str],
    words: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "ingest.yaml").write_text("verb: ingest\nreader: stew\noutt: x\n")
    (tmp_path / "broken.yaml").write_text("verb: [\n")
    try:
        code = cli.main([argument.replace("{folder}", str(tmp_path)) for argument in arguments])
    except SystemExit as end:  # argparse
        code = int(str(end.code))
    said = capsys.readouterr().err.strip()
    assert code == 2
    assert words in said
    assert "Traceback" not in said
    assert len(said.splitlines()) == 1 or said.startswith("usage:")


def test_the_traceback_is_there_for_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTIPHON_TRACEBACK", "1")
    with pytest.raises(ValueError, match="no system"):
        cli.main(["train", "none.none", "--shards", "x", "--tokenizer", "x"])


def test_an_interrupt_is_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(job: object, target: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setitem(cli.RUN, jobs.Doctor, interrupted)
    assert cli.main(["doctor"]) == 130
    assert "same command continues" in capsys.readouterr().err


def test_the_environment_of_a_target_does_not_replace_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    profile = tmp_path / "x.yaml"
    profile.write_text('env: {ANTIPHON_TEST_A: "profile", ANTIPHON_TEST_B: "profile"}\n')
    monkeypatch.setenv("ANTIPHON_TEST_A", "caller")
    monkeypatch.setenv("ANTIPHON_TEST_B", "x")
    monkeypatch.delenv("ANTIPHON_TEST_B")
    cli.main(["verify", str(tmp_path), "--target", str(profile)])
    assert (cli.os.environ["ANTIPHON_TEST_A"], cli.os.environ["ANTIPHON_TEST_B"]) == ("caller", "profile")


def test_a_process_ends_with_the_code(antiphon: Run) -> None:
    done = antiphon("verify", "/nowhere")
    assert done.returncode == 2
    assert done.stderr.startswith("antiphon: /nowhere must hold")
    assert done.stdout == ""


def run_into_closed_pipe(letters: int) -> tuple[int, bytes]:
    """Exit code and stderr of a verb that prints so many letters to a reader that has gone."""
    program = f"""
import sys
from antiphon import cli, jobs
cli.RUN[jobs.Doctor] = lambda job, target: print("x" * {letters})
sys.exit(cli.main(["doctor"]))
"""
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=buffered
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    said = process.stderr.read()
    return process.wait(), said


def test_a_reader_that_goes_is_success_only_when_the_work_was_done() -> None:
    """A few letters wait in the buffer until the end; a million break the pipe in the middle."""
    assert run_into_closed_pipe(10) == (0, b"")
    assert run_into_closed_pipe(1_000_000) == (141, b"")


def test_every_checkpoint_of_a_run_is_verified(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Loading passes over a damaged checkpoint; verifying does not."""
    for name in ("step-00000001", "step-00000002"):
        (tmp_path / "run" / name).mkdir(parents=True)
    assert cli.main(["verify", str(tmp_path / "run")]) == 1
    assert capsys.readouterr().err.count("step-0000000") >= 2


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("plan maestro.tiny --shards x --set optim.lr=[", "optim.lr must be YAML"),
        ("plan maestro.tiny --shards x --workers 0", "workers must be 1 or more"),
    ],
)
def test_what_is_no_value_is_one_sentence(line: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(line.split()) == 2
    assert words in capsys.readouterr().err
