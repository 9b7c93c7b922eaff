"""Batched greedy decoding against a plain loop over frames and symbols."""

import pytest
import torch

from antiphon.decoding.greedy import greedy

HIDDEN, VOCAB = 12, 7


class Parts:
    """A random joint and a random recurrent predictor, whose state is a tuple of batch-first tensors."""

    def __init__(self, seed, blank_bias):
        torch.manual_seed(seed)
        self.embedding = torch.randn(VOCAB, HIDDEN)
        self.cell = torch.nn.LSTMCell(HIDDEN, HIDDEN)
        self.weight = torch.randn(VOCAB, HIDDEN)
        self.bias = torch.zeros(VOCAB)
        self.bias[0] = blank_bias
        self.rows_predicted = 0

    def joint(self, enc, pred):
        return torch.tanh(enc + pred) @ self.weight.t() + self.bias

    def predict(self, tokens, state):
        self.rows_predicted += len(tokens)
        new = self.cell(self.embedding[tokens], state)
        return new[0], new


@torch.no_grad()
def plain(parts, enc, max_symbols):
    """One utterance (T, H): frame by frame, symbol by symbol."""
    tokens, frames, score = [], [], 0.0
    pred, state = parts.predict(torch.tensor([0]), None)
    for t in range(len(enc)):
        for _ in range(max_symbols):
            value, token = parts.joint(enc[t : t + 1], pred)[0].log_softmax(-1).max(-1)
            score += float(value)
            if token == 0:
                break
            tokens.append(int(token))
            frames.append(t)
            pred, state = parts.predict(token.unsqueeze(0), state)
    return tokens, frames, score


def problem(blank_bias=2.0):
    parts = Parts(0, blank_bias)
    return parts, torch.randn(6, 30, HIDDEN), torch.tensor([30, 1, 17, 8, 9, 0])


@pytest.mark.parametrize("max_symbols", [1, 3])
@pytest.mark.parametrize("window", [1, 8, 50])
@pytest.mark.parametrize("blank_bias", [-9.0, 1.0, 4.0])
def test_a_batch_is_decoded_as_a_plain_loop_would(blank_bias, window, max_symbols):
    parts, enc, lens = problem(blank_bias)
    found = greedy(
        enc, lens, joint=parts.joint, predict=parts.predict, max_symbols_per_frame=max_symbols, window=window
    )
    for row, hypothesis in enumerate(found):
        tokens, frames, score = plain(parts, enc[row, : lens[row]], max_symbols)
        assert hypothesis.tokens == tokens
        assert hypothesis.frames == frames
        assert hypothesis.score == pytest.approx(score, abs=1e-3)


def test_the_problem_has_tokens_and_blanks():
    parts, enc, lens = problem()
    found = greedy(enc, lens, joint=parts.joint, predict=parts.predict)
    counts = [len(hypothesis.tokens) for hypothesis in found]
    assert 5 < counts[0] < 30 * 5
    assert counts[5] == 0
    assert parts.rows_predicted == len(lens) + sum(
        counts
    )  # the predictor runs where a token was written, and nowhere else


def test_only_real_frames_are_read():
    parts, enc, lens = problem()
    want = greedy(enc, lens, joint=parts.joint, predict=parts.predict)
    noisy = torch.nn.functional.pad(enc, (0, 0, 0, 9))
    noisy[torch.arange(39) >= lens.unsqueeze(1)] = 50.0
    assert greedy(noisy, lens, joint=parts.joint, predict=parts.predict) == want


def test_a_model_that_never_says_blank_ends():
    parts, enc, lens = problem(blank_bias=-1e4)
    found = greedy(enc, lens, joint=parts.joint, predict=parts.predict, max_symbols_per_frame=2)
    assert [len(hypothesis.tokens) for hypothesis in found] == (2 * lens).tolist()


def test_zero_symbols_a_frame_are_refused():
    parts, enc, lens = problem()
    with pytest.raises(ValueError, match="must be at least 1, but are 0 and 8"):
        greedy(enc, lens, joint=parts.joint, predict=parts.predict, max_symbols_per_frame=0, window=8)
