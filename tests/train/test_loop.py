"""The loop: several ranks are one worker, non-finite steps are refused by name, needs are checked."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import toy

from antiphon.train.log import Log, read_ledger


def test_two_ranks_on_ragged_batches_give_one_workers_weights(tmp_path: Path) -> None:
    steps = 7
    log = Log(tmp_path / "one", step=0, num_steps=steps)
    one, _, _ = toy.run(steps, log=log)
    program = Path(toy.__file__)
    two = tmp_path / "two"
    two.mkdir()
    ranks = [subprocess.Popen([sys.executable, program, str(r), "2", str(steps), str(two)]) for r in range(2)]
    assert [rank.wait(120) for rank in ranks] == [0, 0]
    found = [torch.load(two / f"rank{rank}.pt", weights_only=True) for rank in range(2)]
    for name, value in one.state_dict().items():
        torch.testing.assert_close(found[0][name], value, rtol=0, atol=1e-6)
        assert torch.equal(found[0][name], found[1][name]), name
    assert torch.equal(found[0]["unused"], torch.ones(3, 3)), "a parameter without a gradient anywhere must not decay"
    for mine, theirs in zip(read_ledger(tmp_path / "one/ledger.jsonl"), read_ledger(two / "ledger.jsonl"), strict=True):
        assert mine["counts"] == theirs["counts"]
        assert mine["audio_sec"] == theirs["audio_sec"]
        assert mine["padding"] == theirs["padding"]
        assert mine["parts"] == pytest.approx(theirs["parts"], abs=1e-6)


def test_the_update_is_that_of_the_mean_over_all_utterances() -> None:
    """Oracle: one backward pass of the summed losses divided by the summed counts, torch's own clipping and AdamW."""
    from antiphon.seed import derive_seed
    from antiphon.train.optim import learning_rate

    ours, _, _ = toy.run(3)
    torch.manual_seed(0)
    model = toy.Toy()
    optimizer = torch.optim.AdamW(
        [
            {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": 0.1},
            {"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ],
        betas=(0.9, 0.98),
    )
    for step, group in zip(range(3), toy.groups(0), strict=False):
        losses = []
        for index, batch in group:
            torch.manual_seed(derive_seed(11, "step", step, index))
            losses.append(model(batch))
        optimizer.zero_grad()
        (sum(loss.total for loss in losses) / sum(len(batch) for _, batch in group)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for settings in optimizer.param_groups:
            settings["lr"] = learning_rate(toy.OPTIM, step, 3)
        optimizer.step()
        model.after_step(step + 1)
    for name, value in model.state_dict().items():
        torch.testing.assert_close(ours.state_dict()[name], value, rtol=0, atol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing_and_names_its_batch(tmp_path: Path) -> None:
    log = Log(tmp_path, step=0, num_steps=4)
    poisoned = frozenset({3})
    before, _, _ = toy.run(4, last=3)
    after, optimizer, progress = toy.run(4, poisoned=poisoned, log=log)
    assert all(torch.equal(value, after.state_dict()[name]) for name, value in before.state_dict().items())
    assert {int(state["step"]) for state in optimizer.state.values()} <= {1, 2, 3}
    assert progress.refused == 1
    refused = [line for line in read_ledger(tmp_path / "ledger.jsonl") if "refused" in line]
    culprit = next(group for step, group in enumerate(toy.groups(0)) if step == 3)[4][1]
    assert refused == [{"step": 4, "refused": list(culprit.keys)}]


def test_too_many_refusals_in_a_row_end_the_run_and_name_the_batch() -> None:
    keys = next(group for step, group in enumerate(toy.groups(0)) if step == 4)[4][1].keys
    with pytest.raises(ValueError, match=rf"not at 3 steps in a row up to step 5.*{keys[0]}"):
        toy.run(9, poisoned=frozenset({2, 3, 4}))
    toy.run(9, poisoned=frozenset({2, 3, 5, 6}))  # never three in a row


def test_refusals_in_between_do_not_poison_the_ledger(tmp_path: Path) -> None:
    toy.run(6, poisoned=frozenset({3}), log=Log(tmp_path, step=0, num_steps=6))
    lines = [line for line in read_ledger(tmp_path / "ledger.jsonl") if "refused" not in line]
    assert [line["step"] for line in lines] == [3, 6]
    assert all(math.isfinite(value) for line in lines for value in [line["loss"], *line["parts"].values()])
    json.loads((tmp_path / "ledger.jsonl").read_text().splitlines()[-1], parse_constant=pytest.fail)


def test_a_kind_that_the_model_does_not_know_and_a_missing_side_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toy.Toy, "needs", {"paired": frozenset({"mel", "phones"})})
    with pytest.raises(ValueError, match="Toy must know how to train on text batches, but knows only paired"):
        toy.run(1)
    monkeypatch.setattr(toy.Toy, "needs", {"text": frozenset({"phones", "tokens"})})
    with pytest.raises(ValueError, match="a text batch must have tokens, which Toy needs"):
        toy.run(1)
