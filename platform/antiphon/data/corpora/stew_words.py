"""The wide vocabulary of `read`: some 3,500 words of the CMU dictionary, sorted into slots by their endings.

A narrow vocabulary teaches a speech encoder words instead of phones. No list of frequent words is at hand, so a word
counts as common when its inflected forms are known too (walk: walks, walked, walking): that keeps most surnames out.
"""

import functools
from collections.abc import Container, Iterable

from antiphon.seed import derive_seed
from antiphon.text.espeak import edit_distance, espeak
from antiphon.text.phonemes import cmudict_entries

_VOWELS = "aeiou"
_ADJECTIVES = ("ful", "ous", "able", "less", "ive")
_NOUNS = ("tion", "ment", "ness", "ship", "ity", "ance", "ure")
_INFLECTED = ("ed", "ing", "s", "ly")
# Nobody wants to hear these from a demonstration.
_UNWANTED = (
    *(
        "bugg",
        "castrat",
        "cock",
        "fart",
        "fuck",
        "lecher",
        "lynch",
        "molest",
        "murder",
        "nigg",
        "obscen",
        "piss",
        "rape",
    ),
    *("rapi", "salaci", "screw", "sex", "shit", "slut", "whor"),
)


@functools.cache
def wide_vocabulary() -> dict[str, tuple[str, ...]]:
    """Slot -> its words, the most frequent first: v, v_ed, v_ing (verbs), n, ns (nouns), adj, adv.

    The order is that of a fixed hash. A word has 3 to 10 letters, and its two pronunciations agree to one phone.
    """
    known = cmudict_entries()
    fit = [word for word in known if word.isascii() and word.isalpha() and 3 <= len(word) <= 10]
    fit = [word for word in fit if not word.startswith(_UNWANTED)]
    regular = {word for word in fit if known.keys() >= set(_forms(word)) and not word.endswith(_INFLECTED)}
    verbs = {word for word in regular if not _borrows_forms(word, known)}
    adverbs = {word for word in fit if word.endswith("ly") and len(word) > 6 and word[:-2] in known}
    adverbs -= {verb + "ly" for verb in verbs}
    adjectives = {word[:-2] for word in adverbs}
    adjectives |= {word for word in fit if word.endswith(_ADJECTIVES) and len(word) > 5}
    nouns = {word for word in fit if word.endswith(_NOUNS) and len(word) > 5 and word + "s" in known}
    nouns |= {word for word in fit if word.endswith("er") and word[:-2] in verbs and word + "s" in known}
    nouns |= {word for word in verbs if len(word) < 6}
    verb = _choose(verbs, 480)
    noun = _choose(nouns, 800)
    return {
        "v": verb,
        "v_ed": tuple(_forms(word)[1] for word in verb),
        "v_ing": tuple(_forms(word)[2] for word in verb),
        "n": noun,
        "ns": tuple(word + "s" for word in noun),
        "adj": _choose(adjectives, 420),
        "adv": _choose(adverbs, 280),
    }


def _forms(verb: str) -> tuple[str, str, str]:
    """walk -> walks, walked, walking; bake -> bakes, baked, baking. Of no verb: words that no dictionary has."""
    stem = verb.removesuffix("e")
    return verb + "s", stem + "ed", stem + "ing"


def _borrows_forms(word: str, known: Container[str]) -> bool:
    """Whether its forms are another word's: "hoped" is of "hope", not of "hop"; "waited" of "wait", not of "waite"."""
    stem = word.removesuffix("e")
    doubles = len(stem) > 2 and stem[-2] in _VOWELS and stem[-1] not in _VOWELS and stem[-3] not in _VOWELS
    return (doubles and stem + "e" in known) if word == stem else (not doubles and stem in known)


def _choose(words: Iterable[str], count: int) -> tuple[str, ...]:
    """The first `count` words by a fixed hash that espeak-ng speaks as the dictionary says, but for one phone."""
    entries = cmudict_entries()
    chosen: list[str] = []
    for word in sorted(words, key=lambda word: derive_seed(0, "stew", "word", word)):
        spoken = espeak().phones(word)
        if min(edit_distance(spoken, phones) for phones in entries[word]) <= 1:
            chosen.append(word)
            if len(chosen) == count:
                break
    return tuple(chosen)
