"""Job files, targets and experiments by name."""

from pathlib import Path

import pytest

from antiphon import cli, jobs
from antiphon.config import from_dict, to_dict
from antiphon.jobs import Target, find_experiment, load_job, load_target

ROOT = Path(__file__).parents[1]
JOB_FILES = sorted((ROOT / "jobs").glob("*.yaml"))


@pytest.mark.parametrize("path", JOB_FILES, ids=lambda path: path.stem)
def test_every_job_file_parses_and_names_what_exists(path: Path) -> None:
    verb = path.stem.split("_")[0]
    job, _ = cli.parse([verb, str(path)])
    assert type(job) is jobs.VERBS[verb]
    assert from_dict(type(job), to_dict(job)) == job
    if isinstance(job, jobs.Train):
        assert find_experiment(job.experiment, job.set).name
    if isinstance(job, jobs.Ingest):
        from antiphon.data.ingest import READERS

        assert job.reader in READERS


def test_there_is_a_job_for_each_stage_of_both_paths() -> None:
    stages = ("ingest", "tokenizer", "train", "embed", "index")
    assert {path.stem for path in JOB_FILES} >= {f"{stage}_{corpus}" for stage in stages for corpus in ("stew", "own")}


def test_job_files_hold_nothing_physical() -> None:
    physical = set(to_dict(Target()))
    for path in JOB_FILES:
        fields = load_job(path, path.stem.split("_")[0])
        assert not (physical - {"shards"}) & set(fields)


@pytest.mark.parametrize("path", sorted((ROOT / "cluster").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_target_parses(path: Path) -> None:
    assert load_target(str(path)).name == path.stem


def test_a_bare_word_lies_in_the_targets_folder_and_a_path_where_it_says() -> None:
    target = Target(shards=Path("/data/shards"))
    assert target.find("shards", "stew") == Path("/data/shards/stew")
    assert target.find("shards", "./stew") == Path("stew")


def test_a_run_is_found_by_its_experiments_name_when_it_is_the_only_one(tmp_path: Path) -> None:
    target = Target(runs=tmp_path)
    with pytest.raises(ValueError, match="but holds none"):
        target.find_run("maestro.small")
    (tmp_path / "maestro.small-begun").mkdir()  # a run that was killed before its first checkpoint
    (tmp_path / "maestro.small-0123" / "step-00000001").mkdir(parents=True)
    assert target.find_run("maestro.small").name == "maestro.small-0123"
    (tmp_path / "maestro.small-4567" / "step-00000001").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"holds 2: maestro.small-0123, maestro.small-4567"):
        target.find_run("maestro.small")
    assert target.find_run("maestro.small-4567").name == "maestro.small-4567"


def test_secrets_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "prod.yaml"
    path.write_text("env: {WANDB_API_KEY: abc}\n")
    with pytest.raises(ValueError, match="WANDB_API_KEY") as error:
        load_target(str(path))
    assert "abc" not in str(error.value)


def test_an_experiment_by_name_with_overrides() -> None:
    experiment = find_experiment("maestro.tiny", ("optim.lr=1e-4",))
    assert (experiment.name, experiment.optim.lr) == ("maestro.tiny", 1e-4)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("maestro.smal", "did you mean small"),
        ("maestro", "valid names are"),
        ("maestr.small", "did you mean maestro"),
        ("quickstart.tiny", "no system"),
        ("maestro.replace", "none named 'replace'"),
    ],
)
def test_an_unknown_experiment_is_refused_with_near_names(name: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        find_experiment(name)


def test_a_size_that_the_tokenizer_gives_is_not_set_by_hand() -> None:
    with pytest.raises(ValueError, match=r"tokenizer must give its sizes.*model.vocab_size=100"):
        find_experiment("maestro.tiny", ("model.vocab_size=100",))
