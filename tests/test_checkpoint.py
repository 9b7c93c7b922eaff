"""Checkpoints: whole or absent, damage is named and passed over, AdamW really comes back, another config is refused."""

import logging
import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from antiphon import checkpoint
from antiphon.files import read_json
from antiphon.train.optim import OptimConfig, make_optimizer

EXPERIMENT: dict[str, Any] = {"name": "toy", "model": {"kind": "toy", "dim": 4}, "optim": {"lr": 0.1}}


def make() -> tuple[nn.Module, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 2))
    model.register_parameter("idle", nn.Parameter(torch.ones(2)))
    return model, make_optimizer(OptimConfig(), model)


def step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    optimizer.zero_grad(set_to_none=True)
    model(torch.randn(3, 4, generator=torch.Generator().manual_seed(seed))).square().sum().backward()
    optimizer.step()


def save(run: Path, number: int, model: nn.Module, optimizer: torch.optim.Optimizer, keep: int = 9) -> Path:
    tokenizer = run.parent / "tokenizer"
    tokenizer.mkdir(exist_ok=True)
    (tokenizer / "lexicon.tsv").write_text("a\tAH\n")
    run.mkdir(exist_ok=True)
    state = {"step": number, "meter": {"sums": {"loss": 0.1 + 0.2}}}
    return checkpoint.save(
        run, model=model, optimizer=optimizer, state=state, experiment=EXPERIMENT, tokenizer=tokenizer, keep=keep
    )


def test_a_resumed_optimizer_goes_on_bit_for_bit(tmp_path: Path) -> None:
    model, optimizer = make()
    for seed in range(4):
        step(model, optimizer, seed)
    folder = save(tmp_path / "run", 4, model, optimizer)
    other, fresh = make()
    step(other, fresh, 77)  # a history of its own that must go
    state = checkpoint.resume(folder, model=other, optimizer=fresh, experiment=EXPERIMENT)
    assert state == {"step": 4, "meter": {"sums": {"loss": 0.1 + 0.2}}}
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        for name, value in optimizer.state.get(mine, {}).items():
            assert torch.equal(value, fresh.state[theirs][name]), name
    for seed in range(4, 7):
        step(model, optimizer, seed)
        step(other, fresh, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_moments_follow_the_parameters_name_and_not_their_order(tmp_path: Path) -> None:
    model, optimizer = make()
    step(model, optimizer, 0)
    folder = save(tmp_path / "run", 1, model, optimizer)
    other, _ = make()
    backwards = torch.optim.AdamW(list(other.parameters())[::-1], fused=True)
    checkpoint.resume(folder, model=other, optimizer=backwards, experiment=EXPERIMENT)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        if mine in optimizer.state:
            assert torch.equal(optimizer.state[mine]["exp_avg"], backwards.state[theirs]["exp_avg"])


def test_the_newest_whole_one_is_found_and_old_ones_go(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model, optimizer = make()
    run = tmp_path / "run"
    assert checkpoint.latest(run) is None
    for number in (5, 10, 100, 15):
        save(run, number, model, optimizer, keep=3)
    assert sorted(path.name for path in run.iterdir()) == ["step-00000010", "step-00000015", "step-00000100"]
    damaged = run / "step-00000100" / "optimizer.pt"
    data = bytearray(damaged.read_bytes())
    data[len(data) // 2] ^= 1
    damaged.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert checkpoint.latest(run) == run / "step-00000015"
    assert "step-00000100/optimizer.pt must have the hash" in caplog.text
    (run / "step-00000015" / "model.pt").unlink()
    assert checkpoint.find(run) == run / "step-00000010"
    shutil.rmtree(run / "step-00000010")
    with pytest.raises(ValueError, match="must be a checkpoint or a run with one"):
        checkpoint.find(run)
    save(run, 100, model, optimizer)  # the run comes again to where the damaged one stands
    assert checkpoint.latest(run) == run / "step-00000100"


def _save_mortally(left: int, run: Path) -> None:
    """In a process of its own: a save that is killed before the call number `left` that changes the disk."""
    remaining = left

    def mortal(function: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal remaining
            remaining -= 1
            if remaining < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*args, **kwargs)

        return call

    for module, name in ((os, "rename"), (os, "replace"), (os, "fsync"), (torch, "save"), (shutil, "copytree")):
        setattr(module, name, mortal(getattr(module, name)))
    save(run, 2, *make(), keep=1)


def test_a_save_killed_at_any_moment_leaves_the_older_checkpoint_or_the_new_one(tmp_path: Path) -> None:
    run = tmp_path / "run"
    older = save(run, 1, *make())
    killed = 0
    while True:
        process = multiprocessing.get_context("fork").Process(target=_save_mortally, args=(killed, run))
        process.start()
        process.join()
        found = checkpoint.latest(run)
        assert found in {older, run / "step-00000002"}
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        killed += 1
    assert killed > 10
    assert found == run / "step-00000002"
    checkpoint.remove_partial(run)
    assert os.listdir(run) == ["step-00000002"]


def test_another_config_is_refused_by_field(tmp_path: Path) -> None:
    model, optimizer = make()
    folder = save(tmp_path / "run", 1, model, optimizer)
    other = {**EXPERIMENT, "optim": {"lr": 0.2}, "loop": {"num_steps": 9}}
    with pytest.raises(
        ValueError, match=r"loop.num_steps is absent there but 9 here; optim.lr is 0.1 there but 0.2 here"
    ):
        checkpoint.resume(folder, model=model, optimizer=optimizer, experiment=other)


def test_weights_of_other_shapes_are_refused_by_name(tmp_path: Path) -> None:
    model, optimizer = make()
    folder = save(tmp_path / "run", 1, model, optimizer)
    wider = nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=r"idle is not in the model; 0.weight is \(4, 4\) there but \(5, 4\) here"):
        checkpoint.load_weights(wider, folder)


def test_the_fingerprint_names_weights_config_and_tokenizer(tmp_path: Path) -> None:
    def fingerprint(folder: Path) -> str:
        found: str = read_json(folder / "manifest.json")["fingerprint"]
        return found

    model, optimizer = make()
    first = fingerprint(save(tmp_path / "one", 1, model, optimizer))
    assert fingerprint(save(tmp_path / "two", 2, model, optimizer)) == first
    step(model, optimizer, 0)
    assert fingerprint(save(tmp_path / "three", 1, model, optimizer)) != first


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    model, optimizer = make()
    folder = save(tmp_path / "run", 1, model, optimizer)
    torch.save(Trap(), folder / "model.pt")
    with pytest.raises(Exception, match=r"[Ww]eights"):
        checkpoint.load_weights(model, folder)
    assert not Trap.sprung


class Trap:
    sprung = False

    def __reduce__(self) -> tuple[Any, ...]:
        return setattr, (Trap, "sprung", True)


def test_damaged_folders_of_later_steps_do_not_push_the_new_one_out(tmp_path: Path) -> None:
    model, optimizer = make()
    step(model, optimizer, 0)
    damaged = save(tmp_path / "run", 100, model, optimizer) / "model.pt"
    damaged.write_bytes(damaged.read_bytes()[:-7])
    assert checkpoint.latest(tmp_path / "run") is None
    whole = save(tmp_path / "run", 15, model, optimizer, keep=1)
    assert checkpoint.latest(tmp_path / "run") == whole


def test_a_resumed_muon_counts_its_steps_where_its_parameters_are() -> None:
    """A GPU's kernel cannot read a count on the CPU; the meta device stands in for the GPU."""
    optimizers = []
    for device in ("cpu", "meta"):
        layers = nn.Sequential(nn.Linear(3, 3), nn.LayerNorm(3)).to(device)
        optimizers.append(make_optimizer(OptimConfig(name="muon"), layers))
    for group in optimizers[0].param_groups:
        for parameter in group["params"]:
            parameter.grad = torch.ones_like(parameter)
    optimizers[0].step()
    groups = optimizers[1].state_dict()["param_groups"]
    optimizers[1].load_state_dict({"state": optimizers[0].state_dict()["state"], "param_groups": groups})
    counts = [state["step"] for state in optimizers[1].state.values() if "step" in state]
    assert len(counts) == 3
    assert all(count.device.type == "meta" for count in counts)
