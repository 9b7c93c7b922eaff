"""Schedules at their corners, and which parameters decay."""

import pytest
import torch
from torch import nn

from antiphon.train.optim import OptimConfig, clip, learning_rate, make_optimizer


def test_the_cosine_rises_turns_and_ends_where_it_says() -> None:
    config = OptimConfig(lr=1.0, warmup_steps=10, schedule="cosine", final_share=0.1)
    rates = [learning_rate(config, step, 111) for step in range(111)]
    assert rates[:10] == pytest.approx([0.1 * n for n in range(1, 11)])
    assert rates[10] == pytest.approx(1.0)
    assert rates[60] == pytest.approx(0.55)  # half-way: the mean of 1 and 0.1
    assert rates[110] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_the_other_schedules_by_hand() -> None:
    linear = OptimConfig(lr=2.0, warmup_steps=1, schedule="linear", final_share=0.0)
    assert [learning_rate(linear, step, 6) for step in range(6)] == pytest.approx([2.0, 2.0, 1.5, 1.0, 0.5, 0.0])
    constant = OptimConfig(lr=3.0, warmup_steps=2, schedule="constant")
    assert [learning_rate(constant, step, 9) for step in (0, 1, 8)] == [1.5, 3.0, 3.0]
    # Vaswani et al.: d^-0.5 min(s^-0.5, s w^-1.5), here scaled to a peak of lr at s = w.
    noam = OptimConfig(lr=0.5, warmup_steps=4, schedule="inverse_sqrt")
    for step in range(20):
        s, w = step + 1, 4
        assert learning_rate(noam, step, 20) == pytest.approx(0.5 * w**0.5 * min(s**-0.5, s * w**-1.5))


@pytest.mark.parametrize("schedule", ["cosine", "linear", "inverse_sqrt", "constant"])
def test_no_warm_up_and_a_run_shorter_than_it(schedule: str) -> None:
    cold = OptimConfig(lr=1.0, warmup_steps=0, schedule=schedule)  # type: ignore[arg-type]
    assert learning_rate(cold, 0, 5) == pytest.approx(1.0)
    short = OptimConfig(lr=1.0, warmup_steps=50, schedule=schedule)  # type: ignore[arg-type]
    assert [learning_rate(short, step, 3) for step in range(3)] == pytest.approx([0.02, 0.04, 0.06])


def test_only_matrices_decay_and_frozen_parameters_are_left_out() -> None:
    model = nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    model[2].weight.requires_grad_(False)
    optimizer = make_optimizer(OptimConfig(lr=0.1, weight_decay=0.5), model.parameters())
    assert sum(len(group["params"]) for group in optimizer.param_groups) == 5
    before = [parameter.detach().clone() for parameter in model.parameters()]
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    shrunk = [not torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True)]
    assert shrunk == [True, False, False, False, False, False]
    assert torch.allclose(model[0].weight, before[0] * (1 - 0.1 * 0.5))


def test_clipping_states_the_norm_before_and_leaves_what_is_not_finite() -> None:
    parameters = [nn.Parameter(torch.zeros(3)), nn.Parameter(torch.zeros(4)), nn.Parameter(torch.zeros(1))]
    parameters[0].grad, parameters[1].grad = torch.full((3,), 3.0), torch.full((4,), 1.5)
    assert clip(parameters, 2.0) == pytest.approx(6.0)
    assert clip(parameters, 9.0) == pytest.approx(2.0)
    parameters[1].grad[0] = float("inf")
    assert clip(parameters, 1.0) == float("inf")
    assert torch.allclose(parameters[0].grad, torch.ones(3))


@pytest.mark.parametrize("wrong", [{"lr": 0.0}, {"clip_norm": -1.0}, {"betas": (0.9,)}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=f"optim.*{next(iter(wrong))}"):
        OptimConfig(**wrong)  # type: ignore[arg-type]
