"""Transducer losses against every path, finite differences, torchaudio's numbers, and each other."""

from dataclasses import replace

import pytest
import torch
from torch.profiler import ProfilerActivity, profile

from antiphon.losses.lattice import occupation
from antiphon.losses.transducer import lattice, transducer_loss, transducer_loss_fused

LONG = ((40, 12), (33, 9), (1, 3), (20, 0))
BOTH = pytest.mark.parametrize("form", ["given", "fused"])


def loss(form, case, **options):
    if form == "given":
        return transducer_loss(case.logits(), *case.labels)
    return transducer_loss_fused(*case.joint, *case.labels, **options)


def grads(values, case, weights=None):
    return torch.autograd.grad(values, case.joint, torch.ones_like(values) if weights is None else weights)


@BOTH
@pytest.mark.parametrize("seed", range(4))
def test_value_and_gradient_are_those_of_all_paths(form, seed, make_case, all_paths):
    case = make_case(seed)
    log_probs = case.logits().log_softmax(-1)
    token = case.targets[:, None, :, None].expand(-1, log_probs.shape[1], -1, -1)
    emit = log_probs[:, :, :-1].gather(3, token).squeeze(3)
    rows = []
    for row, (frames, tokens) in enumerate(zip(case.enc_lens.tolist(), case.target_lens.tolist(), strict=True)):
        scores, _ = all_paths(log_probs[row, ..., 0], emit[row], frames, tokens)
        rows.append(-scores.logsumexp(0))
    want, got = torch.stack(rows), loss(form, case)
    torch.testing.assert_close(got, want)
    weights = torch.randn_like(want)
    for mine, theirs in zip(grads(got, case, weights), grads(want, case, weights), strict=True):
        torch.testing.assert_close(mine, theirs)


@BOTH
def test_gradient_is_that_of_finite_differences(form, make_case):
    case = make_case(7)

    def by_inputs(enc, pred, weight, bias):
        return loss(form, replace(case, enc=enc, pred=pred, weight=weight, bias=bias))

    assert torch.autograd.gradcheck(by_inputs, case.joint)


def test_numbers_of_torchaudio():
    # torchaudio 2.11 rnnt_loss on the same formula, on a CPU
    logits = (torch.sin(torch.arange(3 * 7 * 5 * 11) * 0.37) * 3).view(3, 7, 5, 11).requires_grad_()
    targets = torch.tensor([[3, 10, 1, 3], [5, 5, 2, 0], [7, 0, 0, 0]])
    got = transducer_loss(logits, targets, torch.tensor([7, 5, 1]), torch.tensor([4, 3, 1]))
    torch.testing.assert_close(got.detach(), torch.tensor([26.445892, 21.877604, 10.645095]))
    (grad,) = torch.autograd.grad(got.sum(), logits)
    close = {"rtol": 1e-4, "atol": 1e-6}
    torch.testing.assert_close(grad.abs().sum((1, 2, 3)), torch.tensor([17.001654, 12.936943, 3.974826]), **close)
    torch.testing.assert_close(grad[0, 3, 2, :3], torch.tensor([-0.00713949, 0.00031404, 0.00078496]), **close)
    torch.testing.assert_close(grad[1, 2, 1, 5], torch.tensor(-0.43061155), **close)


def test_fused_equals_given_in_fp32(make_case):
    case = make_case(1, lens=LONG, vocab=50, hidden=16, dtype=torch.float32)
    given, fused = loss("given", case), loss("fused", case)
    torch.testing.assert_close(fused, given, rtol=1e-5, atol=1e-5)
    for mine, theirs in zip(grads(fused, case), grads(given, case), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("max_bytes", [1, 5_000, 60_000])
def test_chunks_change_nothing(max_bytes, make_case):
    case = make_case(2, lens=LONG, vocab=20, hidden=8)
    whole, chunked = loss("fused", case), loss("fused", case, max_bytes=max_bytes)
    torch.testing.assert_close(chunked, whole)
    for mine, theirs in zip(grads(chunked, case), grads(whole, case), strict=True):
        torch.testing.assert_close(mine, theirs)
    for mine, theirs in zip(
        lattice(*case.joint, *case.labels, max_bytes=max_bytes), lattice(*case.joint, *case.labels), strict=True
    ):
        torch.testing.assert_close(mine, theirs)


@pytest.mark.parametrize("max_bytes", [100_000, 400_000, 1 << 20])
def test_memory_stays_within_the_stated_bytes(max_bytes, make_case):
    case = make_case(0, lens=((20, 9), (15, 7)), vocab=200, hidden=50, dtype=torch.float32)

    def step(limit):
        return grads(loss("fused", case, max_bytes=limit), case)

    beside = _peak_bytes(lambda: step(1))  # one node at a time: inputs' gradients and lattices
    assert beside < _peak_bytes(lambda: step(max_bytes)) <= beside + max_bytes
    assert _peak_bytes(lambda: grads(loss("given", case), case)) > beside + 400_000  # so the measure sees logits


def _peak_bytes(work):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        work()
    events = [
        (event.start_ns(), event.nbytes())
        for event in record.profiler.kineto_results.events()
        if event.name() == "[memory]"
    ]
    held = torch.tensor([size for _, size in sorted(events)]).cumsum(0)
    return int(held.max())


@BOTH
def test_padding_changes_nothing(form, make_case):
    case = make_case(4, lens=LONG, vocab=20, hidden=8, dtype=torch.float32)
    want = loss(form, case)
    frames = torch.arange(case.enc.shape[1]) < case.enc_lens.unsqueeze(1)
    prefixes = torch.arange(case.pred.shape[1]) <= case.target_lens.unsqueeze(1)
    wider = replace(
        case,
        enc=torch.nn.functional.pad(case.enc.masked_fill(~frames.unsqueeze(2), 9.0), (0, 0, 0, 7), value=-9.0),
        pred=torch.nn.functional.pad(case.pred.masked_fill(~prefixes.unsqueeze(2), 9.0), (0, 0, 0, 3), value=-9.0),
        targets=torch.nn.functional.pad(case.targets.masked_fill(~prefixes[:, 1:], -1), (0, 3), value=99),
    )
    got = loss(form, wider)
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)
    for mine, theirs in zip(grads(got, case), grads(want, case), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-6)


@BOTH
def test_a_batch_is_its_rows(form, make_case):
    case = make_case(5, lens=LONG)
    rows = []
    for row, (frames, tokens) in enumerate(LONG):
        one = replace(
            case,
            enc=case.enc[row : row + 1, :frames],
            pred=case.pred[row : row + 1, : tokens + 1],
            targets=case.targets[row : row + 1, :tokens],
            enc_lens=case.enc_lens[row : row + 1],
            target_lens=case.target_lens[row : row + 1],
        )
        rows.append(loss(form, one))
    torch.testing.assert_close(torch.cat(rows), loss(form, case))


@BOTH
@pytest.mark.parametrize("size", [1e2, 1e4])
def test_extreme_logits_stay_finite(form, size, make_case):
    case = make_case(6, lens=LONG, dtype=torch.float32)
    case = replace(case, weight=(case.weight * size).detach().requires_grad_())
    values = loss(form, case)
    assert values.isfinite().all()
    assert values.max() > size
    assert all(grad.isfinite().all() for grad in grads(values, case))


def test_bf16_and_autocast_are_computed_in_fp32(make_case):
    case = make_case(3, lens=LONG, vocab=20, hidden=8, dtype=torch.float32)
    logits = case.logits().bfloat16()
    assert torch.equal(transducer_loss(logits, *case.labels), transducer_loss(logits.float(), *case.labels))
    half = [part.detach().bfloat16().requires_grad_() for part in case.joint]
    full = [part.detach().float().requires_grad_() for part in half]
    want = transducer_loss_fused(*full, *case.labels)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        got = transducer_loss_fused(*half, *case.labels)
        mine = torch.autograd.grad(got.sum(), half)
    assert got.dtype == torch.float32
    assert torch.equal(got, want)
    for one, other in zip(mine, torch.autograd.grad(want.sum(), full), strict=True):
        assert torch.equal(one, other.bfloat16())


def test_any_memory_layout_will_do(make_case):
    case = make_case(3, lens=LONG)
    turned = replace(
        case,
        enc=case.enc.transpose(0, 1).contiguous().transpose(0, 1),
        pred=case.pred.transpose(1, 2).contiguous().transpose(1, 2),
        weight=case.weight.t().contiguous().t(),
        targets=case.targets.t().contiguous().t(),
    )
    got, want = loss("fused", turned), loss("fused", case)
    assert torch.equal(got, want)
    for mine, theirs in zip(grads(got, case), grads(want, case), strict=True):
        torch.testing.assert_close(mine, theirs)


def test_without_gradient_the_value_is_the_same(make_case):
    case = make_case(3, lens=LONG)
    values = loss("fused", case)
    with torch.no_grad():
        for form in ("fused", "given"):
            torch.testing.assert_close(loss(form, case), values)
        held = _peak_bytes(lambda: loss("fused", case))
    assert held < _peak_bytes(lambda: loss("fused", case))  # nothing is kept for a backward pass
    once = torch.autograd.grad(values.sum(), case.joint, retain_graph=True)
    again = torch.autograd.grad(values.sum(), case.joint)
    assert all(torch.equal(a, b) for a, b in zip(once, again, strict=True))


@pytest.mark.parametrize("prune", [1e-6, 1e-3, 1e-2])
def test_pruning_errs_by_twice_the_mass_that_it_drops(prune, make_case):
    case = make_case(8, lens=((60, 10), (50, 12)), vocab=12)
    taken = occupation(*lattice(*case.joint, *case.labels), case.enc_lens, case.target_lens)
    share = taken.blank.clone()
    share[:, :, :-1] += taken.emit
    dropped = share[share <= prune].sum()
    exact, pruned = (grads(loss("fused", case, prune=value), case) for value in (0.0, prune))
    assert 0 < (exact[3] - pruned[3]).abs().sum() <= 2 * dropped  # the bias sees the sum of all logits' gradients


def test_pruning_everything_leaves_no_gradient(make_case):
    case = make_case(8)
    assert all(grad.eq(0).all() for grad in grads(loss("fused", case, prune=2.0), case))


@BOTH
@pytest.mark.parametrize(
    ("field", "value", "sentence"),
    [
        ("enc_lens", [5, 0, 4, 3, 1], "frames must number 1..5, but row 1 has 0"),
        ("enc_lens", [5, 1, 4, 6, 1], "frames must number 1..5, but row 3 has 6"),
        ("target_lens", [4, 2, 0, 1, 0], "target_lens must lie in 0..3, but row 0 has 4"),
        ("target_lens", [3, 2, -1, 1, 0], "target_lens must lie in 0..3, but row 2 has -1"),
        ("target_lens", [3, 2], r"target_lens must have shape \(5,\)"),
        ("targets", [[1, 2, 3], [1, 0, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], "row 1 has .1, 0.; check the tokenizer"),
        ("targets", [[1, 2, 6], [1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 0]], "must lie in 0..5 .* row 0 has .1, 2, 6."),
    ],
)
def test_wrong_lengths_and_targets_are_refused(form, field, value, sentence, make_case):
    case = replace(make_case(0), **{field: torch.tensor(value)})
    with pytest.raises(ValueError, match=sentence):
        loss(form, case)


@BOTH
def test_a_batch_without_tokens_is_all_blanks(form, make_case):
    case = make_case(0, lens=((4, 0), (2, 0)))
    blanks = case.logits().log_softmax(-1)[:, :, 0, 0]
    want = -torch.stack([blanks[0].sum(), blanks[1, :2].sum()])
    got = loss(form, case)
    torch.testing.assert_close(got, want)
    for mine, theirs in zip(grads(got, case), grads(want, case), strict=True):
        torch.testing.assert_close(mine, theirs)
