"""Sentences, quotes of them that say something else, and quotes that only look different. Always the same."""

from __future__ import annotations

import random
import unicodedata
from collections.abc import Callable, Iterator
from itertools import product

# (sentence, its changes as (from, to)); names, numbers and currencies are put in below.
SENTENCES: list[tuple[str, list[tuple[str, str]]]] = [
    (
        "{a} shall pay {b} the sum of {c}{n} within 30 days of the invoice.",
        [
            ("shall", "may"),
            ("shall", "shall not"),
            ("shall", "must"),
            ("within", "after"),
            ("30 days", "60 days"),
            ("30 days", "30 months"),
        ],
    ),
    (
        "The Licensee {a} may not assign this agreement without the written consent of {b}, for {c}{n}.",
        [("may not", "may"), ("without", "with"), ("Licensee", "Licensor"), ("written", "unwritten"), ("this", "any")],
    ),
    (
        "{a} is liable to {b} for losses above {c}{n}, whether or not they were foreseeable.",
        [("is liable", "is not liable"), ("above", "below"), ("liable", "reliable"), ("foreseeable", "unforeseeable")],
    ),
    (
        "Der Mieter {a} haftet gegenüber {b} in Höhe von {n} {c} und darf den Vertrag kündigen.",
        [("haftet", "haftet nicht"), ("darf", "muss"), ("Mieter", "Vermieter"), ("kündigen", "verlängern")],
    ),
    (
        "Le vendeur {a} doit livrer à {b} la marchandise au prix de {n} {c} avant le 3 mai 2021.",
        [
            ("doit", "peut"),
            ("doit", "ne doit pas"),
            ("avant", "après"),
            ("3 mai", "13 mai"),
            ("3 mai", "3 mars"),
            ("vendeur", "acheteur"),
        ],
    ),
    (
        "La empresa {a} no podrá ceder a {b} los derechos valorados en {n} {c} sin autorización.",
        [("no podrá", "podrá"), ("sin", "con"), ("podrá", "deberá"), ("ceder", "conceder")],
    ),
    (
        "Арендатор {a} обязан уплатить {b} сумму {n} {c} не позднее 5 июня 2022 года.",
        [("обязан", "вправе"), ("не позднее", "позднее"), ("5 июня", "5 июля"), ("Арендатор", "Арендодатель")],
    ),
    (
        "يلتزم الطرف الأول {a} بأن يدفع إلى {b} مبلغ {n} {c} خلال المدة المحددة.",
        [("يلتزم", "لا يلتزم"), ("الأول", "الثاني"), ("خلال", "بعد")],
    ),
    (
        "השוכר {a} ישלם אל {b} סך של {n} {c} עד סוף החודש הקרוב.",
        [("ישלם", "לא ישלם"), ("השוכר", "המשכיר"), ("עד", "אחרי")],
    ),
    (
        "甲方{a}应当向乙方{b}支付人民币{n}元（{c}），不得转让本合同。",
        [("应当", "可以"), ("不得", "可以"), ("甲方", "丙方"), ("支付", "收取")],
    ),
]
NAMES = [
    ("Acme Corp", "Beta Holdings"),
    ("Ida Moss", "Per Holt"),
    ("Nordwind AG", "Südwind AG"),
    ("Martin Hale", "Martina Hale"),
]
NUMBERS = [("1,250,000", "1,520,000"), ("12.50", "125.0"), ("7", "17"), ("40 000", "40 001")]
CURRENCIES = [("$", "€"), ("EUR", "USD")]


def altered() -> Iterator[tuple[str, str, str]]:
    """(text, quote, what was changed): the quote says something else than the text."""
    for (sentence, changes), names, (number, other), (coin, another) in product(SENTENCES, NAMES, NUMBERS, CURRENCIES):
        said = {"a": names[0], "b": names[1], "n": number, "c": coin}
        text = sentence.format(**said)
        yield text, sentence.format(**{**said, "a": names[1], "b": names[0]}), "names swapped"
        yield text, sentence.format(**{**said, "n": other}), "number"
        yield text, sentence.format(**{**said, "c": another}), "currency"
        if number == "7":
            for old, new in changes:
                yield text, text.replace(old, new), f"{old} -> {new}"
                yield text.replace(old, new), text, f"{new} -> {old}"


_FULL_WIDTH = {code: code + 0xFEE0 for code in range(0x21, 0x7F)}
_FULL_WIDTH[0x20] = 0x3000
_LIGATURES = {"fi": "ﬁ", "fl": "ﬂ", "ff": "ﬀ"}
_ARABIC_DIGITS = str.maketrans("0123456789", "٠١٢٣٤٥٦٧٨٩")
_HEBREW_POINTS = "\u05b0\u05b4\u05b7\u05b8\u05bc"
_ARABIC_POINTS = "\u064e\u064f\u0650\u0652"


def _pointed(text: str, first: str, last: str, points: str) -> str:
    rng = random.Random(3)
    return "".join(sign + (rng.choice(points) if first <= sign <= last and rng.random() < 0.5 else "") for sign in text)


def _hyphenated(text: str) -> str:
    def divided(word: str) -> str:
        half = len(word) // 2
        return f"{word[:half]}-\n{word[half:]}" if len(word) > 6 and word.isalpha() and word.isascii() else word

    return " ".join(map(divided, text.split(" ")))


def _ligatures(text: str) -> str:
    for plain, ligature in _LIGATURES.items():
        text = text.replace(plain, ligature)
    return text


HARMLESS: dict[str, Callable[[str], str]] = {
    "white space": lambda text: text.replace(" ", " \n  "),
    "no-break space": lambda text: text.replace(" ", "\u00a0"),
    "hyphenation": _hyphenated,
    "NFD": lambda text: unicodedata.normalize("NFD", text),
    "ligatures": _ligatures,
    "full width": lambda text: text.translate(_FULL_WIDTH),
    "Hebrew points": lambda text: _pointed(text, "א", "ת", _HEBREW_POINTS),
    "Arabic points": lambda text: _pointed(text, "ب", "ي", _ARABIC_POINTS),
    "Arabic-Indic digits": lambda text: text.translate(_ARABIC_DIGITS),
    "capitals": str.upper,
    "typographic signs": lambda text: text.replace("-", "–").replace("'", "’"),
    "soft hyphens": lambda text: text.replace("nt", "n\u00adt"),
}


def harmless() -> Iterator[tuple[str, str, str]]:
    """(text, quote, what was changed): only the spelling differs, in the text or in the quote."""
    for (sentence, _), names, (number, _) in product(SENTENCES, NAMES, NUMBERS):
        plain = sentence.format(a=names[0], b=names[1], n=number, c="EUR")
        for how, change in HARMLESS.items():
            if (other := change(plain)) != plain:
                yield f"Before that: x. {other} After that: y.", plain, how
                yield f"Before that: x. {plain} After that: y.", other, how
