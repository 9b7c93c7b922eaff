"""The lattice against every path of tiny lattices, and its own laws: posteriors, durations, the best path."""

import pytest
import torch

from antiphon.losses.lattice import (
    durations_from_emissions,
    expected_durations,
    occupation,
    path_nll,
    posteriors,
    viterbi,
)
from antiphon.losses.transducer import lattice

SEEDS = range(6)


def arcs(case):
    return *lattice(*case.joint, *case.labels), case.enc_lens, case.target_lens


@pytest.mark.parametrize("seed", SEEDS)
def test_the_best_path_is_the_best_of_all(seed, make_case, all_paths):
    blank, emit, enc_lens, target_lens = arcs(make_case(seed))
    found = viterbi(blank, emit, enc_lens, target_lens)
    for row, (frames, tokens) in enumerate(zip(enc_lens.tolist(), target_lens.tolist(), strict=True)):
        scores, emitted_at = all_paths(blank[row], emit[row], frames, tokens)
        assert found[row, :tokens].tolist() == emitted_at[scores.argmax()].tolist()
        assert found[row, tokens:].eq(0).all()


@pytest.mark.parametrize("seed", SEEDS)
def test_posteriors_and_expected_durations_are_means_over_all_paths(seed, make_case, all_paths):
    blank, emit, enc_lens, target_lens = arcs(make_case(seed))
    shares = posteriors(blank, emit, enc_lens, target_lens)
    expected = expected_durations(shares, enc_lens, target_lens)
    for row, (frames, tokens) in enumerate(zip(enc_lens.tolist(), target_lens.tolist(), strict=True)):
        scores, emitted_at = all_paths(blank[row], emit[row], frames, tokens)
        weight = scores.softmax(0)
        by_frame = torch.nn.functional.one_hot(emitted_at, shares.shape[1]).transpose(1, 2) * weight.view(-1, 1, 1)
        torch.testing.assert_close(shares[row, :, :tokens], by_frame.sum(0).to(shares.dtype))
        lens = torch.full((len(scores),), frames), torch.full((len(scores),), tokens)
        by_path = durations_from_emissions(emitted_at, *lens) * weight.unsqueeze(1)
        torch.testing.assert_close(expected[row, :tokens], by_path.sum(0))


def test_each_token_is_emitted_once_and_each_frame_left_once(make_case):
    blank, emit, enc_lens, target_lens = arcs(make_case(0, lens=((40, 12), (7, 12), (1, 5), (9, 0))))
    taken = occupation(blank, emit, enc_lens, target_lens)
    real = torch.arange(emit.shape[2]) < target_lens.unsqueeze(1)
    torch.testing.assert_close(taken.emit.sum(1), real.double())
    frames = torch.arange(blank.shape[1]) < enc_lens.unsqueeze(1)
    torch.testing.assert_close(taken.blank.sum(2), frames.double())
    torch.testing.assert_close(taken.nll, path_nll(blank, emit, enc_lens, target_lens))


def test_posteriors_stay_sharp_in_fp32_on_long_audio(make_case):
    case = make_case(0, lens=((600, 80), (500, 100)), vocab=50, hidden=8, dtype=torch.float32)
    blank, emit, enc_lens, target_lens = arcs(case)
    taken = occupation(blank, emit, enc_lens, target_lens)
    assert taken.nll.min() > 1000
    assert (taken.emit.sum((1, 2)) - target_lens).abs().max() < 1e-4 * 100


def test_a_certain_lattice_has_one_path():
    frames, tokens = 6, 3
    blank, emit = torch.full((1, frames, tokens + 1), -1e4), torch.full((1, frames, tokens), -1e4)
    for u, t in enumerate((1, 4, 4)):
        emit[0, t, u] = 0.0
    for t, u in ((0, 0), (1, 1), (2, 1), (3, 1), (4, 3), (5, 3)):
        blank[0, t, u] = 0.0
    lens = torch.tensor([frames]), torch.tensor([tokens])
    assert viterbi(blank, emit, *lens).tolist() == [[1, 4, 4]]
    assert posteriors(blank, emit, *lens)[0].nonzero().tolist() == [[1, 0], [4, 1], [4, 2]]
    assert durations_from_emissions(torch.tensor([[1, 4, 4]]), *lens).tolist() == [[4, 0, 2]]


def test_durations_sum_to_the_frames(make_case):
    blank, emit, enc_lens, target_lens = arcs(make_case(1, lens=((30, 9), (12, 9), (5, 1), (2, 7), (4, 0))))
    best = viterbi(blank, emit, enc_lens, target_lens)
    durations = durations_from_emissions(best, enc_lens, target_lens)
    assert durations.dtype == torch.int64
    assert durations.min() >= 0
    has_tokens = target_lens > 0
    assert torch.equal(durations.sum(1), enc_lens * has_tokens)
    mean = expected_durations(posteriors(blank, emit, enc_lens, target_lens), enc_lens, target_lens)
    torch.testing.assert_close(mean.sum(1), (enc_lens * has_tokens).double())
    # the emission frames come back from the durations: leading blanks belong to the first token
    again = durations.cumsum(1).roll(1, dims=1)
    later = (torch.arange(best.shape[1]) < target_lens.unsqueeze(1)) & (torch.arange(best.shape[1]) > 0)
    assert torch.equal(best[later], again[later])


def test_ties_go_to_the_earliest_emission():
    blank, emit = torch.zeros(1, 5, 4), torch.zeros(1, 5, 3)
    assert viterbi(blank, emit, torch.tensor([5]), torch.tensor([3])).tolist() == [[0, 0, 0]]


def test_padding_holds_nothing_that_counts(make_case):
    blank, emit, enc_lens, target_lens = arcs(make_case(3))
    wide_blank, wide_emit = (torch.nn.functional.pad(part, (0, 4, 0, 3), value=7.0) for part in (blank, emit))
    wide_emit = wide_emit[:, :, : wide_blank.shape[2] - 1]
    for row, (frames, tokens) in enumerate(zip(enc_lens.tolist(), target_lens.tolist(), strict=True)):
        wide_blank[row, frames:], wide_blank[row, :, tokens + 1 :] = 7.0, 7.0
        wide_emit[row, frames:], wide_emit[row, :, tokens:] = 7.0, 7.0
    one, other = (occupation(*pair, enc_lens, target_lens) for pair in ((blank, emit), (wide_blank, wide_emit)))
    assert torch.equal(one.nll, other.nll)
    assert torch.equal(one.emit, other.emit[:, : emit.shape[1], : emit.shape[2]])
    assert other.emit.sum() == pytest.approx(target_lens.sum().item())
    assert torch.equal(
        viterbi(blank, emit, enc_lens, target_lens),
        viterbi(wide_blank, wide_emit, enc_lens, target_lens)[:, : emit.shape[2]],
    )


def test_impossible_lattices_give_infinity_and_zeros_not_nan():
    blank, emit = torch.zeros(2, 3, 3), torch.zeros(2, 3, 2)
    emit[0] = -torch.inf
    taken = occupation(blank, emit, torch.tensor([3, 3]), torch.tensor([2, 2]))
    assert taken.nll[0] == torch.inf
    assert taken.emit[0].eq(0).all()
    assert taken.blank[0].eq(0).all()
    assert taken.nll[1] == pytest.approx(
        -torch.tensor(6.0).log().item()
    )  # six ways to place two tokens on three frames
