"""Whether two spellings of a word are one word, once misspelt.

A slip lies inside the word, is one edit (a letter too many, too few, another one, two changed round; or rn for m),
puts no vowel for another, and changes no ending that makes another word. And it makes what is no word: where both
spellings are common words (realty and reality, Marina and Martina) they are two. Common is what the o200k vocabulary
has as one token: it was learned from text, so it holds words and names of many languages, and a misspelling falls
apart.
"""

from __future__ import annotations

from functools import lru_cache

import regex
from rapidfuzz.distance import OSA

__all__ = ["MIN_CHARS", "is_slip"]

MIN_CHARS = 5
"""Shorter words have too many neighbours: Anna and Anne, Holt and Holz."""

_SPELLED = regex.compile(r"[\p{Latin}\p{Greek}\p{Cyrillic}\p{M}]+")
_VOWELS = frozenset("aeiouyáàâäãåéèêëíìîïóòôöõøúùûüýÿαεηιουωаеёиоуыэюяіїє")
_ENDINGS = tuple(
    regex.findall(
        r"\w+",
        """er or ar ee ed es en an in on ary ery ory able ible ant ent ance ence ancy ency ious uous eous ive ife ment
        ate ite ide ine ane ene yne ase ose ole one ome amine amide imine imide anol anal
        son sen sson ssen man mann berg burg stein stern ski sky ic ik ich itz its al el il le ll l
        s ss st t tt n nn m mm""",
    )
)
"""Of words in English, of chemicals and drugs, of family names: another one of these makes another word."""


def is_slip(one: str, other: str) -> bool:
    """Whether two different words, case-folded, are spellings of one. Symmetric."""
    if one[:2] != other[:2] or abs(len(one) - len(other)) > 1 or min(len(one), len(other)) < MIN_CHARS:
        return False
    if not (_SPELLED.fullmatch(one) and _SPELLED.fullmatch(other)):
        return False
    start = _common(one, other)
    rest_one, rest_other = one[start:], other[start:]
    end = _common(rest_one[::-1], rest_other[::-1])
    edit = {rest_one[: len(rest_one) - end], rest_other[: len(rest_other) - end]}
    inside = start >= 2 and end >= 1
    if not inside or (OSA.distance(one, other, score_cutoff=1) > 1 and edit != {"rn", "m"}):
        return False
    if {len(letters) for letters in edit} == {1} and edit <= _VOWELS:
        return False
    doubled = "".join(edit) == one[start - 1]
    if end <= 2 and "" in edit and edit & _VOWELS and not doubled:  # Christina, Christiana
        return False
    return not _other_ending(one, other) and not (_is_common(one) and _is_common(other))


def _common(one: str, other: str) -> int:
    """How many letters they begin with alike."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, pair in pairs if pair[0] != pair[1]), min(len(one), len(other)))


def _other_ending(one: str, other: str) -> bool:
    """Whether they are one stem with two of the endings, or with one of them and none."""
    stems = {one[: len(one) - len(ending)] for ending in _ENDINGS if one.endswith(ending)} | {one}
    return any(other[: len(other) - len(ending)] in stems for ending in ("", *_ENDINGS) if other.endswith(ending))


@lru_cache(maxsize=2**14)
def _is_common(word: str) -> bool:
    from docreduce.text.tokens import tokenizer

    count = tokenizer("o200k_base").count
    return count(f" {word}") == 1 or count(f" {word.title()}") == 1
