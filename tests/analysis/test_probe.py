"""The probe against spaces whose answer is known, and against a plain loop."""

import numpy as np
import pytest

from antiphon.analysis.probe import choose_pairs, probe, probe_texts


def space(num: int, dim: int, noise: float, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    speech = rng.normal(size=(num, dim))
    return speech, speech + noise * rng.normal(size=(num, dim))


def test_equal_spaces_find_everything_and_scale_does_not_matter() -> None:
    speech, text = space(50, 16, 0.0)
    both = probe("shared", speech, 7.0 * text)
    assert [one.recall_at_1 for one in both] == [1.0, 1.0]
    assert [one.direction for one in both] == ["speech -> text", "text -> speech"]


def test_unrelated_spaces_stay_near_chance() -> None:
    rng = np.random.default_rng(1)
    one, _ = probe("modal", rng.normal(size=(400, 8)), rng.normal(size=(400, 8)))
    assert one.chance == 1 / 400
    assert one.recall_at_1 < 0.02


def test_a_collapsed_space_finds_nothing() -> None:
    """All vectors alike: ties must not count as hits."""
    vectors = np.ones((30, 4)) + 0.0
    assert all(one.recall_at_1 == 0.0 for one in probe("shared", vectors, vectors))


def test_each_direction_counts_its_own_queries() -> None:
    """Two texts near one utterance: both texts find it, it finds one of them."""
    speech = np.array([[1.0, 0.0], [0.0, 1.0]])
    text = np.array([[1.0, 0.1], [1.0, 0.2]])
    to_text, to_speech = probe("x", speech, text)
    assert (to_text.recall_at_1, to_speech.recall_at_1) == (1.0, 0.5)


def test_against_a_plain_loop() -> None:
    speech, text = space(60, 6, 1.0)
    hits = 0
    for row in range(60):
        cosines = [
            speech[row] @ text[other] / np.linalg.norm(speech[row]) / np.linalg.norm(text[other]) for other in range(60)
        ]
        hits += int(np.argmax(cosines)) == row
    found = probe("x", speech, text)[0]
    assert found.recall_at_1 == pytest.approx(hits / 60)
    assert 0.1 < found.recall_at_1 < 0.95
    assert found.interval[0] < found.recall_at_1 < found.interval[1]


def test_unlike_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2, 2\)"):
        probe("x", np.ones((3, 2)), np.ones((2, 2)))


def test_pairs_have_different_texts_and_domains_take_turns() -> None:
    texts = [f"text {row // 2}" for row in range(100)]  # each text twice
    domains = ["a" if row < 80 else "b" for row in range(100)]
    rows = choose_pairs(texts, domains, 20, seed=0)
    assert len({texts[row] for row in rows}) == len(rows) == 20
    assert sum(domains[row] == "b" for row in rows) == 10
    assert rows == choose_pairs(texts, domains, 20, seed=0) != choose_pairs(texts, domains, 20, seed=1)
    assert len(choose_pairs(texts, domains, 1000, seed=0)) == 50


def test_every_recording_of_the_same_words_is_an_answer() -> None:
    """Three digits, four recordings each, one of them wrong; the text side repeats and has a word that nobody said."""
    names = ["one", "two", "three"]
    spoken = names * 4
    speech = np.array([np.eye(4)[names.index(word)] for word in spoken])
    speech[0] = np.eye(4)[1]  # a "one" that sounds like "two"
    written = ["one", "two", "three", "two", "four"]
    text = np.array([np.eye(4)[("one", "two", "three", "four").index(word)] for word in written])
    to_text, to_speech = probe_texts("shared", speech, spoken, text, written)
    assert to_text.candidates == 4
    assert to_text.recall_at_1 == pytest.approx(11 / 12)
    assert to_text.chance == pytest.approx(1 / 4)
    assert to_speech.candidates == 12
    assert to_speech.chance == pytest.approx(1 / 3)
    # of each ten best, irrelevant ones first among equals: 3 of 3 ones, then 4 of 4 twos behind the false one, 4 threes
    assert to_speech.precision_at_10 == pytest.approx(np.mean([3, 4, 4]) / 10)
    assert probe_texts("shared", speech, ["none"] * 12, text, written) == []
