"""Pairs of names and values: what looks alike and is two, and what is written in two ways and is one.

Made from templates in several languages, always the same."""

from __future__ import annotations

import random
import unicodedata
from itertools import combinations, product

Pair = tuple[str, str]

AMOUNTS = ("5", "12", "100", "2,500", "1.75", "18,400.50")
COMPANIES = (
    "Northwind Logistics GmbH",
    "Meridian Harbour Capital",
    "Castellano Fratelli",
    "Lindqvist Marine Engineering",
    "Fairbanks Consulting Group",
    "Wetherby Insurance Brokers",
    "Kowalczyk Transport",
    "Harrington Pharmaceuticals",
    "Société Montgolfier",
    "Bergström Fastigheter",
    "Müller Maschinenbau",
    "Instituto Universitario Salamanca",
    "Transportadora Guanabara",
    "Schwarzenberg Versicherungen",
    "Compagnie Méditerranéenne",
    "Panagiotopoulos Shipping",
    "Государственный Университет",
    "Промышленная Компания",
    "Holloway Infrastructure Partners",
    "Aldebaran Semiconductor",
)


def distinct() -> list[Pair]:
    """Pairs of which no two are one, however alike they look."""
    pairs: list[Pair] = []
    for amount in AMOUNTS:
        pairs += combinations((amount, f"-{amount}", f"({amount})", f"±{amount}"), 2)
        pairs += combinations((f"{sign}{amount}" for sign in ("$", "€", "£", "¥", "₹")), 2)
        pairs += combinations((f"{amount} {unit}" for unit in ("USD", "EUR", "CHF", "%", "‰")), 2)
        pairs += combinations((f"{sign} {amount} mg" for sign in ("<", ">", "≤", "≥", "=", "≈")), 2)
    pairs += combinations(("1.5", "15", "1,5", "1:5", "1/5", "1-5"), 2)
    pairs += [
        ("10²", "102"),
        ("H₂O", "H2O₂"),
        ("5 mW", "5 MW"),
        ("16 Mb", "16 MB"),
        ("3 mg", "3 Mg"),
        ("10:30", "1030"),
    ]
    pairs += [*combinations(("C", "C++", "C#"), 2), *combinations(("A", "A+", "A-", "A*"), 2)]
    pairs += [*combinations(("BBB", "BBB+", "BBB-"), 2), ("Vitamin D", "Vitamin D3"), ("½ share", "2 share")]
    for word, one, other in product(
        ("Contract", "Flat", "Lot", "Rechnung", "Счёт", "請求書"), ("17", "1007"), ("18", "171", "1070")
    ):
        pairs.append((f"{word} {one}", f"{word} {other}"))
    for name in ("Blackstone Fund", "Acme Series", "Louis", "Annex", "Anlage"):
        pairs += combinations((f"{name} {number}" for number in ("I", "II", "III", "IV", "A", "B")), 2)
    for stem in ("Acme", "Beaumont", "Carrington"):
        pairs += combinations((f"{stem} {form}" for form in ("Ltd", "Inc", "LLC", "GmbH", "AG", "SA")), 2)
        pairs += [(f"{stem} Holdings", f"{stem} Holding"), (f"{stem} North", f"{stem} South"), (stem, f"{stem} Bank")]
    affixed = """revocable irrevocable|exclusive inclusive|lessor lessee|employer employee|licensor licensee|payer payee
    |mortgagor mortgagee|assignor assignee|legal illegal|solvent insolvent|secured unsecured|conditional unconditional
    |transferable nontransferable|increase decrease|import export|internal external|hypertension hypotension
    |sulfate sulfite|nitrate nitrite|ethane ethene|methanol methanal|chloride chlorate|prednisone prednisolone
    |amine amide|principal principle|stationary stationery|complement compliment|affect effect|adapt adopt
    |prescribe proscribe|insure ensure|county country|trial trail|casual causal|marital martial|contract contrast
    |desert dessert|realty reality|united untied|board broad|conversation conservation|commission omission
    |direct indirect|regular irregular|active inactive|resident nonresident|perspective prospective|eligible illegible
    |ingenious ingenuous|moral morale|personal personnel|council counsel|capital capitol|immanent imminent"""
    people = """Martin Martina|Daniel Daniela|Marina Martina|Michael Michel|Christian Christina|Andersen Anderson
    |Petersen Peterson|Hansen Hanson|Johann Johanna|Paul Paula|Maier Meier|Carol Carole|Robert Roberta|Jordan Gordan
    |Stephens Stevens|Nicolas Nicole|Julian Juliana|Adrian Adriana|Mario Maria|Alexander Alexandra|Joan Joanne
    |Simon Simone|Denis Denise|Francis Frances|Gabriel Gabriela|Helen Helene|Valerie Valeria|Jean Jeanne|Victor Victoria
    |Henrik Henrike|Oliver Olivia|Erik Erika|Eugen Eugenia|Patrick Patricia|Louis Louise|Philipp Philippa|Иванов Иванова
    |Петров Петрова|Александр Александра|Kowalski Kowalska|Nováková Novák|Papadopoulos Papadopoulou"""
    for line in affixed.replace("\n", "").split("|"):
        one, other = line.split()
        pairs += [(one, other), (f"the {one} party", f"the {other} party")]
    for line in people.replace("\n", "").split("|"):
        one, other = line.split()
        pairs += [(one, other), (f"{one} Holt", f"{other} Holt")]
    pairs += [
        ("北京银行股份有限公司", "南京银行股份有限公司"),
        ("東京電力", "東北電力"),
        ("田中一郎", "田中二郎"),
        ("大阪支店", "大坂支店"),
    ]
    pairs += [("Nguyễn Văn Hà", "Nguyễn Văn Hạ"), ("משכיר", "שוכר"), ("البائع", "البائعة"), ("المؤجر", "المستأجر")]
    pairs += [
        ("is liable", "is not liable"),
        ("with recourse", "without recourse"),
        ("haftet", "haftet nicht"),
        ("Nachtrag", "Vertrag"),
    ]
    return list(dict.fromkeys(pairs))


def same() -> list[Pair]:
    """Pairs that are one, written in two ways; about half of them with a slip inside a word."""
    pairs: list[Pair] = []
    for name in COMPANIES:
        first, last = name.split(" ", 1)
        pairs += [(name, name.upper()), (name, f" {first}   {last}."), (name, f"“{name}”")]
        pairs += [
            (name, unicodedata.normalize("NFD", name).replace(" ", "\u00a0")),
            (f"{name} & Co.", f"{name} and Co"),
        ]
        pairs += [(f"{name} Ltd.", f"{name} Limited"), (f"{name}, Inc.", f"{name} Incorporated")]
    pairs += [
        ("Société Générale", "Societe Generale"),
        ("Nestlé", "Nestle"),
        ("São Paulo", "Sao Paulo"),
        ("O’Brien", "O'Brien"),
    ]
    pairs += [
        ("U.S.A.", "USA"),
        ("ＡＣＭＥ　１２３", "Acme 123"),
        ("$2,500", "$ 2500"),
        ("קִיּוּם", "קיום"),
        ("٩٠ ريال", "90 ريال"),
    ]
    pairs += [
        ("ﬁnance", "Finance"),
        ("Straße 5", "STRASSE 5"),
        ("Müller", "Mueller"),
        ("Anlage 3–5", "Anlage 3-5"),
        ("Acme™", "Acme"),
    ]
    return pairs + slips(7)


def slips(seed: int) -> list[Pair]:
    """Names with one slip inside their longest word: a letter dropped, doubled, changed or changed round."""
    rng = random.Random(seed)
    pairs = []
    for name in COMPANIES:
        word = max(name.split(), key=len)
        for edit in ("drop", "double", "change", "swap", "swap", "drop", "double", "change"):
            at = rng.randrange(2, len(word) - 2)
            wrong = {
                "drop": word[:at] + word[at + 1 :],
                "double": word[:at] + word[at] + word[at:],
                "change": word[:at]
                + rng.choice("bcdfghklmnprstvz" if word[0].isascii() else "бвгдклмнпрст")
                + word[at + 1 :],
                "swap": word[:at] + word[at + 1] + word[at] + word[at + 2 :],
            }[edit]
            if wrong != word:
                pairs.append((name, name.replace(word, wrong)))
    return pairs
