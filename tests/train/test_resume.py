"""k steps and a resumed N - k are N steps, bit for bit: weights, AdamW, ledger; across an epoch boundary."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import toy

from antiphon import checkpoint
from antiphon.train.log import Log, Meter, read_ledger
from antiphon.train.loop import Progress
from antiphon.train.optim import make_optimizer

STEPS = 11
EXPERIMENT = {"name": "toy"}


class Run:
    """One run folder; `go` trains in it as a fresh process would."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "tokenizer").mkdir(parents=True)

    def go(self, last: int | None = None, poisoned: frozenset[int] = frozenset()) -> dict[str, Any]:
        torch.manual_seed(0)
        model = toy.Toy()
        optimizer = make_optimizer(toy.OPTIM, model)
        progress, run = Progress(), self.folder / "run"
        run.mkdir(exist_ok=True)
        if (newest := checkpoint.latest(run)) is not None:
            state = checkpoint.resume(newest, model=model, optimizer=optimizer, experiment=EXPERIMENT)
            progress = Progress(step=state["step"], refused=state["refused"], meter=Meter(**state["meter"]))
        log = Log(run, step=progress.step, num_steps=STEPS)

        def save(now: Progress) -> None:
            log.sync()
            state = {"step": now.step, "refused": now.refused, "meter": now.meter.state()}
            checkpoint.save(
                run,
                model=model,
                optimizer=optimizer,
                state=state,
                experiment=EXPERIMENT,
                tokenizer=self.folder / "tokenizer",
                keep=2,
            )

        toy.run(
            STEPS, progress=progress, model=model, optimizer=optimizer, log=log, save=save, last=last, poisoned=poisoned
        )
        log.close()
        moments = {
            f"{name}.{key}": value
            for name, parameter in model.named_parameters()
            for key, value in optimizer.state.get(parameter, {}).items()
        }
        return {**model.state_dict(), **moments}

    def ledger(self) -> list[dict[str, Any]]:
        lines = read_ledger(self.folder / "run" / "ledger.jsonl")
        return [{name: value for name, value in line.items() if name != "time"} for line in lines]


def _assert_same(one: dict[str, Any], two: dict[str, Any]) -> None:
    assert one.keys() == two.keys()
    assert all(torch.equal(value, two[name]) for name, value in one.items())


@pytest.mark.parametrize("stops", [(4,), (5,), (1, 2, 7, 10)], ids=str)
def test_stopped_and_resumed_equals_undisturbed(tmp_path: Path, stops: tuple[int, ...]) -> None:
    """An epoch has 4 steps, a report comes every 3: the stops lie on, before and after both. Step 6 is refused."""
    poisoned = frozenset({5})
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    want = whole.go(poisoned=poisoned)
    for last in stops:
        parts.go(last=last, poisoned=poisoned)
    _assert_same(want, parts.go(poisoned=poisoned))
    assert parts.ledger() == whole.ledger()
    assert [line["step"] for line in whole.ledger()] == [3, 6, 6, 9, 11]


def test_killed_after_a_checkpoint_rewrites_the_ledger_and_not_the_result(tmp_path: Path) -> None:
    """A kill leaves lines of steps that are lost, and half a line; a damaged newest checkpoint costs only its steps."""
    whole, parts = Run(tmp_path / "whole"), Run(tmp_path / "parts")
    want = whole.go()
    parts.go(last=8)
    with (parts.folder / "run" / "ledger.jsonl").open("a") as ledger:
        ledger.write(json.dumps({"step": 9, "loss": 1.0}) + '\n{"step": 1')
    optimizer = parts.folder / "run" / "step-00000008" / "optimizer.pt"
    optimizer.write_bytes(optimizer.read_bytes()[:-7])
    _assert_same(want, parts.go())
    assert parts.ledger() == whole.ledger()


def test_a_forgotten_optimizer_would_show(tmp_path: Path) -> None:
    """The comparison above is sharp: without the moments the weights differ."""
    run, other = Run(tmp_path / "a"), Run(tmp_path / "b")
    want = run.go()
    other.go(last=4)
    folder = checkpoint.latest(other.folder / "run")
    assert folder is not None
    model = toy.Toy()
    fresh = make_optimizer(toy.OPTIM, model)
    checkpoint.load_weights(model, folder)
    toy.run(STEPS, progress=Progress(step=4), model=model, optimizer=fresh)
    assert not torch.equal(model.shared[0].weight, want["shared.0.weight"])
