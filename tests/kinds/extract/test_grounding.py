"""Whether a value stands in its quote, however it is written."""

from __future__ import annotations

import pytest
from docreduce.kinds.extract.coercion import number_of
from docreduce.kinds.extract.grounding import value_in_quote


@pytest.mark.parametrize(
    ("value", "quote", "stands"),
    [
        (2_000_000, "a fee of $1,250,000", False),
        (1_250_000, "a fee of $1,250,000", True),
        (1_250_000, "EUR 1.250.000,00", True),
        (1_250_000, "1.25 million dollars", True),
        (1.25e6, "1,25 Mio. Euro", True),
        (2_000_000, "$2m", True),
        (30_000, "３万円", True),
        (0.125, "12.5 % a year", True),
        (12.5, "12.5 % a year", True),
        (-500, "(500)", True),
        (90, "٩٠ ديناراً", True),
        (7, "seven days", True),
        (42, "forty-two rooms", True),
        (4, "14 days, 40 nights", False),
        (1250, "1 250 zł", True),
        ("2021-05-03", "3 May 2021", True),
        ("2021-05-03", "03.05.21", True),
        ("2021-05-03", "le 3 mai 2021", True),
        ("2021-05-03", "2021年5月3日", True),
        ("2021-05-03", "20210503", True),
        ("2021-05-03", "3 May 2020", False),
        ("2021-05-03", "4.5.2021", False),
        ("2021-05-03T14:30:00", "3 May 2021, 2:30 pm", True),
        ("2021-05-03T14:30:00", "3 May 2021, 3:30 pm", False),
        ("Acme Holdings", "ACME   HOLDINGS", True),
        ("Moss, Ida", "Ida Moss", False),
        ("Ida Moss", "Ida B. Moss", True),
        ("Société Générale", "SOCIE\u0301TE\u0301 GE\u0301NE\u0301RALE", True),
        ("Beta", "Acme", False),
        (True, "as agreed", None),
        (None, "x", None),
    ],
)
def test_a_value_stands_in_its_quote_or_does_not(value, quote, stands):
    assert value_in_quote(value, quote) is stands


def test_a_category_need_not_stand_in_its_quote_and_may():
    assert value_in_quote("lease", "the premises are let", {"enum": ["lease", "loan"]}) is None
    assert value_in_quote("lease", "this lease", {"enum": ["lease", "loan"]}) is True


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1,250", 1250),
        ("1.250", 1.25),
        ("1.250.000", 1_250_000),
        ("12,5", 12.5),
        ("1,25,0", None),
        ("0,125", 0.125),
        ("0.125", 0.125),
        (".5", 0.5),
        ("US$ 5", 5),
        ("-R$ 1.250,75", -1250.75),
        ("5 EUR", 5),
        ("CHF 1'250.50", 1250.5),
        ("€ -5", -5),
        ("1\u202f250 €", 1250),
        ("5-", -5),
        ("(1,250.00)", -1250),
        ("1e5", 100_000),
        ("2.5E-3", 0.0025),
        ("12,34,567.5", 1_234_567.5),
        ("5 kg", None),
        ("1 EUR 250", None),
        ("5 - 7", None),
        (".", None),
        ("0,125,000", None),
        ("-", None),
        ("", None),
    ],
)
def test_a_number_is_read_by_its_separators(text, number):
    assert number_of(text) == number
