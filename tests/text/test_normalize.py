"""Spoken forms against hand-written readings; the laws that hold for every text."""

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from antiphon.text.normalize import cardinal, normalize, ordinal

READINGS = {
    "It's 7 o'clock, Mr. Smith!": "it's seven o'clock mister smith",
    "1,204 men in 1905; 2007, 2019, 1999.": (
        "one thousand two hundred four men in nineteen oh five two thousand seven twenty nineteen nineteen ninety nine"
    ),
    "the 1990s and the '90s": "the nineteen nineties and the nineties",
    "agent 007": "agent zero zero seven",
    "3rd 21st 12th 40th 1,000th": "third twenty first twelfth fortieth one thousandth",
    "-4 and 5-3 and 3.14": "minus four and five three and three point one four",
    "50% of ½ or 2½": "fifty percent of one half or two one half",
    "21°C": "twenty one degrees celsius",
    "$5.20 £3 million": "five dollars and twenty cents three million pounds",
    "$1 $0.50 7€": "one dollar fifty cents seven euros",
    "7:05 pm 9:00 9:00 a.m. 17:00 5pm": "seven oh five p m nine o'clock nine a m seventeen hundred five p m",
    "R&B at you@me, mp3": "r and b at you at me mp three",
    "don’t ‘quote’ dogs' rock 'n' roll": "don't quote dogs rock n roll",
    "twenty-one — twenty–two": "twenty one twenty two",
    "日本 naïve ΑΣ": "日本 naïve ας",
    "\u0301a \u0301 b": "a b",
    "… --- !": "",
}


@pytest.mark.parametrize("written", READINGS)
def test_readings(written: str) -> None:
    assert normalize(written) == READINGS[written]


@given(st.text())
@example("a\u0301'\u0301 5\u00bd\u0301")
@example("İ ß ǆ ᴬ \u200d e\u200d\u0301 ''a''b''")
def test_a_second_pass_changes_nothing(text: str) -> None:
    for language in ("en", "de"):
        once = normalize(text, language)
        assert normalize(once, language) == once


@given(st.text(alphabet=st.sampled_from("0123456789.,:$£€%°cfapms'-½²thndr& ")))
def test_english_leaves_no_digit_and_only_single_spaces(text: str) -> None:
    spoken = normalize(text)
    assert not any(char.isdigit() for char in spoken)
    assert spoken == " ".join(spoken.split())
    assert normalize(spoken) == spoken


@given(st.text())
def test_only_letters_marks_and_inner_apostrophes_stay(text: str) -> None:
    for word in normalize(text).split():
        assert unicodedata.category(word[0])[0] in "LN"
        assert not word.endswith("'")
        assert all(char == "'" or unicodedata.category(char)[0] in "LMN" for char in word)


def test_cardinals_and_ordinals_are_all_different() -> None:
    values = [*range(2000), 10**6, 10**9 + 1, 10**15 - 1]
    assert len({cardinal(value) for value in values}) == len(values)
    assert len({ordinal(value) for value in values}) == len(values)


def test_other_languages_keep_their_digits() -> None:
    assert normalize("Um 7 Uhr, Straße 12!", "de") == "um 7 uhr straße 12"
