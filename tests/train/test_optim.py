"""Schedules at their corners, and which parameters decay."""

import copy
import itertools

import pytest
import torch
from torch import nn

from antiphon.nn.head import Head
from antiphon.train.optim import Muon, OptimConfig, clip, learning_rate, make_optimizer, orthogonalize


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
    optimizer = make_optimizer(OptimConfig(lr=0.1, weight_decay=0.5), model)
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


def test_orthogonalized_matrices_keep_their_directions_and_lose_their_scales() -> None:
    generator = torch.Generator().manual_seed(0)
    for shape, half in itertools.product([(4, 24, 60), (4, 60, 24)], [False, True]):
        x = torch.randn(*shape, generator=generator)
        left, _, right = torch.linalg.svd(x, full_matrices=False)
        found = orthogonalize(x, half=half)
        values = torch.linalg.svdvals(found)
        assert values.min() > 0.6
        assert values.max() < 1.3
        assert torch.nn.functional.cosine_similarity(found.flatten(), (left @ right).flatten(), dim=0) > 0.95


def test_muon_makes_the_updates_of_torch_on_matrices_and_of_adamw_elsewhere() -> None:
    torch.manual_seed(0)
    layers = {
        "linear": nn.Linear(12, 30),
        "embedding": nn.Embedding(7, 12),
        "lstm": nn.LSTM(12, 8),
        "head": Head(12, 9),
    }
    mine, oracle = nn.ModuleDict(layers), copy.deepcopy(nn.ModuleDict(layers))
    config = OptimConfig(name="muon", lr=0.02, weight_decay=0.1)
    optimizer = make_optimizer(config, mine)
    assert isinstance(optimizer, Muon)
    whole = {name for name, p in oracle.named_parameters() if p.ndim == 2 and name.split(".")[0] in {"linear", "lstm"}}
    inner = [p for name, p in oracle.named_parameters() if name in whole]
    rest = [p for name, p in oracle.named_parameters() if p.ndim == 2 and name not in whole]
    flat = [p for p in oracle.parameters() if p.ndim < 2]
    betas = (config.betas[0], config.betas[1])
    oracles = (
        torch.optim.Muon(inner, lr=0.02, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(rest, lr=0.02, betas=betas, weight_decay=0.1),
        torch.optim.AdamW(flat, lr=0.02, betas=betas, weight_decay=0.0),
    )
    for _ in range(3):
        for p, q in zip(mine.parameters(), oracle.parameters(), strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        for each in (optimizer, *oracles):
            each.step()
    for (name, p), q in zip(mine.named_parameters(), oracle.parameters(), strict=True):
        tolerance = 5e-3 if name in whole else 1e-6  # the iteration runs in bf16
        torch.testing.assert_close(p, q, atol=tolerance, rtol=0.0)
