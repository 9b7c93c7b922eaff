"""CTC against every path of tiny problems."""

from itertools import groupby, product

import pytest
import torch

from antiphon.losses.ctc import ctc_align, ctc_loss, infeasible

VOCAB = 4


def problem(seed):
    """Six rows with repeats, no tokens, a single frame, and one that is too short for its repeats."""
    torch.manual_seed(seed)
    logits = torch.randn(6, 6, VOCAB, dtype=torch.float32, requires_grad=True)
    frames = torch.tensor([6, 5, 4, 3, 6, 1])
    targets = torch.tensor([[1, 2, 1], [3, 3, 0], [2, 0, 0], [2, 2, 2], [0, 0, 0], [3, 0, 0]])
    return logits, frames, targets, torch.tensor([3, 2, 1, 3, 0, 1])


def paths_of(log_probs, frames, tokens):
    """-> (log-probability, symbols) of all paths that collapse to tokens."""
    return [
        (sum(log_probs[t, symbol] for t, symbol in enumerate(path)), path)
        for path in product(range(VOCAB), repeat=frames)
        if [symbol for symbol, _ in groupby(path) if symbol] == tokens
    ]


@pytest.mark.parametrize("seed", range(3))
def test_loss_and_alignment_are_those_of_all_paths(seed):
    logits, frames, targets, lens = problem(seed)
    log_probs = logits.log_softmax(-1)
    values, first = ctc_loss(logits, frames, targets, lens), ctc_align(log_probs, frames, targets, lens)
    for row in range(len(logits)):
        tokens = targets[row, : lens[row]].tolist()
        paths = paths_of(log_probs[row].detach(), int(frames[row]), tokens)
        if not paths:
            assert row == 3
            continue
        total = torch.stack([torch.as_tensor(score) for score, _ in paths]).logsumexp(0)
        torch.testing.assert_close(values[row].detach(), -total)
        best = max(paths, key=lambda pair: float(pair[0]))[1]
        starts = [t for t, symbol in enumerate(best) if symbol and (t == 0 or best[t - 1] != symbol)]
        assert first[row].tolist() == starts + [0] * (targets.shape[1] - len(tokens))


def test_too_short_is_counted_and_gives_no_nan():
    logits, frames, targets, lens = problem(0)
    assert infeasible(frames, targets, lens).tolist() == [False, False, False, True, False, False]
    values = ctc_loss(logits, frames, targets, lens)
    (grad,) = torch.autograd.grad(values.sum(), logits)
    assert values[3] == 0
    assert grad.isfinite().all()
    assert grad[3].eq(0).all()
    assert ctc_align(logits.log_softmax(-1), frames, targets, lens)[3].tolist() == [-1, -1, -1]


def test_an_impossible_symbol_is_counted_as_loss_zero_not_infinity():
    logits, frames, targets, lens = problem(0)
    certain = logits.detach().masked_fill(torch.arange(VOCAB) == 2, -torch.inf)
    assert ctc_loss(certain, frames, targets, lens).isfinite().all()


def test_padding_and_half_precision_change_nothing():
    logits, frames, targets, lens = problem(1)
    wide = (
        torch.nn.functional.pad(logits, (0, 0, 0, 4), value=5.0),
        frames,
        torch.nn.functional.pad(targets, (0, 2)),
        lens,
    )
    torch.testing.assert_close(ctc_loss(*wide), ctc_loss(logits, frames, targets, lens))
    short = ctc_align(logits.log_softmax(-1), frames, targets, lens)
    assert torch.equal(ctc_align(wide[0].log_softmax(-1), *wide[1:])[:, :3], short)
    half = logits.bfloat16()
    assert torch.equal(ctc_loss(half, frames, targets, lens), ctc_loss(half.float(), frames, targets, lens))


def test_starts_rise_and_lie_inside_on_a_large_batch():
    torch.manual_seed(0)
    frames, lens = torch.randint(60, 81, (8,)), torch.randint(0, 26, (8,))
    targets = torch.randint(1, 42, (8, 25))
    first = ctc_align(torch.randn(8, 80, 42).log_softmax(-1), frames, targets, lens)
    for row in range(8):
        starts = first[row, : lens[row]]
        assert (starts.diff() > 0).all()
        assert (starts < frames[row]).all()


def test_no_tokens_at_all():
    log_probs = torch.randn(2, 3, VOCAB).log_softmax(-1)
    empty = torch.zeros(2, 0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64)
    frames = torch.tensor([3, 2])
    assert ctc_align(log_probs, frames, *empty).shape == (2, 0)
    torch.testing.assert_close(ctc_loss(log_probs, frames, *empty)[1], -log_probs[1, :2, 0].sum())
