"""Written text -> the words that are said, so that a transcript, a query and a hypothesis are compared in one form.

`NORMALIZER_VERSION` stands beside every error rate; any change of output changes it. The rules, American readings:

    lower case, NFKC; letters and marks of any script and apostrophes inside words stay, everything else becomes a space
    cardinals without "and": 1,204 -> one thousand two hundred four; 007 and more than 15 digits are read digit by digit
    four digits without a comma from 1100 to 1999 and from 2010 to 2099 are years: 1905 -> nineteen oh five
    1990s -> nineteen nineties; 3rd -> third; -4 -> minus four; 3.14 -> three point one four; ½ -> one half
    50% -> fifty percent; 21°C -> twenty one degrees celsius; 7:05 pm -> seven oh five p m; 9:00 -> nine o'clock
    $5.20 -> five dollars and twenty cents; £3 million -> three million pounds
    & -> and, @ -> at, + -> plus; mr, mrs, dr -> mister, missus, doctor

normalize(normalize(x)) == normalize(x). Markup of a corpus ([noise], <unk>) is its reader's business.
"""

import re
import unicodedata
from collections.abc import Callable
from fractions import Fraction

NORMALIZER_VERSION = "antiphon-en-1"

_UP_TO_NINETEEN = (
    "zero one two three four five six seven eight nine "
    "ten eleven twelve thirteen fourteen fifteen sixteen seventeen eighteen nineteen"
)
_ONES = _UP_TO_NINETEEN.split()
_TENS = ("", "ten", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_SCALES = ("", " thousand", " million", " billion", " trillion")
_MAX_DIGITS = 15  # the largest scale holds no more
_ORDINALS = {
    "one": "first",
    "two": "second",
    "three": "third",
    "five": "fifth",
    "eight": "eighth",
    "nine": "ninth",
    "twelve": "twelfth",
}
_MONEY = {
    "$": ("dollar", "dollars", "cent", "cents"),
    "£": ("pound", "pounds", "penny", "pence"),
    "€": ("euro", "euros", "cent", "cents"),
    "¥": ("yen", "yen", "sen", "sen"),
    "₹": ("rupee", "rupees", "paisa", "paise"),
}
_SIGNS = {
    "%": "percent",
    "&": "and",
    "@": "at",
    "+": "plus",
    "°": "degrees",
    "°c": "degrees celsius",
    "°f": "degrees fahrenheit",
}
_TITLES = {"mr": "mister", "mrs": "missus", "dr": "doctor"}
_APOSTROPHES = str.maketrans(dict.fromkeys("’‘ʼ＇`´ʹ′", "'"))

_NUMBER = r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?"
# One pass, so that a rule sees what was written and not what another rule made of it; the first that fits wins.
_WRITTEN = re.compile(
    rf"""
      (?P<money> (?P<unit>[{"".join(_MONEY)}]) \s? (?P<amount>{_NUMBER})
                 (?: \s? (?P<scale>thousand|million|billion|trillion)\b )?
               | (?P<amount2>{_NUMBER}) \s? (?P<unit2>[€£]) )
    | (?P<time> (?<![\d:]) (?P<hour>[01]?\d|2[0-3]) : (?P<minute>[0-5]\d) (?![\d:]) (?: \s? (?P<half>[ap])\.?m\b\.? )? )
    | (?P<hours> (?<![\w,.]) (?P<hour2>1[0-2]|[1-9]) \s? (?P<half2>[ap])\.?m\b\.? )
    | (?P<decade> (?<![\d.,]) (?P<tens>(?:1[1-9]|20)?[2-9]0) '?s\b )
    | (?P<ordinal> (?<![\d.]) (?P<place>\d{{1,3}}(?:,\d{{3}})+|\d+) (?:st|nd|rd|th)\b )
    | (?P<number> (?: (?<![\w,.)]) (?P<minus>[-−]) )? (?P<digits>{_NUMBER}) )
    | (?P<sign> [%&@+] | °(?:[cf]\b)? )
    """,
    re.VERBOSE | re.ASCII,
)
_EDGE_APOSTROPHE = re.compile(r"(?<![^\s'])'|'(?![^\s'])")


def normalize(text: str, language: str = "en") -> str:
    """The spoken form with single spaces; "" when nothing is said. Other languages than English keep their digits."""
    english = language.partition("-")[0] in ("en", "")
    text = text.translate(_APOSTROPHES)
    if english and not text.isascii():
        text = "".join(map(_ascii_digits, text))
    # Lower-casing may decompose and composing may bring capitals, hence both sides of it.
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).lower()).translate(_APOSTROPHES)
    if english:
        text = _WRITTEN.sub(_speak, text)
    text = unicodedata.normalize("NFKC", "".join(c if c == "'" or _is_spoken(c) else " " for c in text))
    while text != (text := _EDGE_APOSTROPHE.sub(" ", text)):
        pass
    words = [word for word in map(_without_leading_marks, text.split()) if word]
    return " ".join(_TITLES.get(word, word) for word in words) if english else " ".join(words)


def _is_spoken(char: str) -> bool:
    category = unicodedata.category(char)
    return category[0] in "LM" or category in ("Nd", "Nl")


def _without_leading_marks(word: str) -> str:
    """A mark belongs to the letter before it; alone it is nothing that can be said."""
    start = 0
    while start < len(word) and (word[start] == "'" or unicodedata.category(word[start])[0] == "M"):
        start += 1
    return word[start:]


def _ascii_digits(char: str) -> str:
    """½ and ² set apart, so that 2½ does not turn into 21/2; digits of other scripts in ASCII; else the character."""
    if unicodedata.category(char) == "Nd":
        return str(unicodedata.decimal(char))
    if unicodedata.category(char) != "No":
        return char
    value = Fraction(unicodedata.numeric(char)).limit_denominator(1000)
    if value.denominator == 1:
        return f" {value.numerator} "
    top, bottom = (
        cardinal(value.numerator),
        {2: "half", 4: "quarter"}.get(value.denominator, ordinal(value.denominator)),
    )
    return f" {top} {bottom if value.numerator == 1 else bottom.replace('half', 'halve') + 's'} "


def cardinal(value: int) -> str:
    """1204 -> "one thousand two hundred four"; up to 15 digits."""
    if value < 20:
        return _ONES[value]
    if value < 100:
        return _TENS[value // 10] + (f" {_ONES[value % 10]}" if value % 10 else "")
    if value < 1000:
        return f"{_ONES[value // 100]} hundred" + (f" {cardinal(value % 100)}" if value % 100 else "")
    groups = []
    for scale in _SCALES:
        value, group = divmod(value, 1000)
        if group:
            groups.append(cardinal(group) + scale)
    return " ".join(reversed(groups))


def ordinal(value: int) -> str:
    """21 -> "twenty first"."""
    head, _, last = cardinal(value).rpartition(" ")
    last = _ORDINALS.get(last) or (last[:-1] + "ieth" if last.endswith("y") else last.removesuffix("t") + "th")
    return f"{head} {last}".strip()


def _speak(match: re.Match[str]) -> str:
    return f" {_SPEAKERS[match.lastgroup or ''](match)} "


def _money(match: re.Match[str]) -> str:
    whole, _, part = (match["amount"] or match["amount2"]).replace(",", "").partition(".")
    one, many, small_one, small_many = _MONEY[match["unit"] or match["unit2"]]
    if match["scale"]:
        return f"{_decimal(whole, part)} {match['scale']} {many}"
    if len(part) != 2:
        return f"{_decimal(whole, part)} {one if whole == '1' and not part else many}"
    large = f"{_integer(whole)} {one if whole == '1' else many}"
    small = f"{cardinal(int(part))} {small_one if int(part) == 1 else small_many}"
    if int(part) == 0:
        return large
    return small if whole.strip("0") == "" else f"{large} and {small}"


def _time(match: re.Match[str]) -> str:
    hour, minute, half = (
        cardinal(int(match["hour"])),
        int(match["minute"]),
        f" {match['half']} m" if match["half"] else "",
    )
    if minute:
        return f"{hour} {'oh ' if minute < 10 else ''}{cardinal(minute)}{half}"
    if half:
        return hour + half
    return f"{hour} o'clock" if 1 <= int(match["hour"]) <= 12 else f"{hour} hundred"


def _decade(match: re.Match[str]) -> str:
    century, tens = match["tens"][:-2], _TENS[int(match["tens"][-2])].removesuffix("y") + "ies"
    return f"{cardinal(int(century))} {tens}" if century else tens


def _number(match: re.Match[str]) -> str:
    digits = match["digits"]
    if len(digits) == 4 and digits.isdigit() and (1100 <= int(digits) < 2000 or 2010 <= int(digits) < 2100):
        spoken = _year(int(digits[:2]), int(digits[2:]))
    else:
        spoken = _decimal(*digits.replace(",", "").partition(".")[::2])
    return f"minus {spoken}" if match["minus"] else spoken


def _year(century: int, year: int) -> str:
    rest = "hundred" if year == 0 else f"oh {cardinal(year)}" if year < 10 else cardinal(year)
    return f"{cardinal(century)} {rest}"


def _decimal(whole: str, part: str) -> str:
    return f"{_integer(whole)} point {_digits(part)}" if part else _integer(whole)


def _integer(digits: str) -> str:
    plain = len(digits) <= _MAX_DIGITS and (digits == "0" or digits[0] != "0")
    return cardinal(int(digits)) if plain else _digits(digits)


def _digits(digits: str) -> str:
    return " ".join(_ONES[int(digit)] for digit in digits)


def _ordinal(match: re.Match[str]) -> str:
    digits = match["place"].replace(",", "")
    return ordinal(int(digits)) if len(digits) <= _MAX_DIGITS else _digits(digits)


_SPEAKERS: dict[str, Callable[[re.Match[str]], str]] = {
    "money": _money,
    "time": _time,
    "hours": lambda match: f"{cardinal(int(match['hour2']))} {match['half2']} m",
    "decade": _decade,
    "ordinal": _ordinal,
    "number": _number,
    "sign": lambda match: _SIGNS[match[0]],
}
