"""When two spellings are one word."""

from __future__ import annotations

import pytest
from docreduce.text.slips import is_slip
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("one", "other", "slip"),
    [
        ("northwind", "nothwind", True),
        ("northwind", "norhtwind", True),
        ("international", "intemational", True),
        ("government", "goverment", True),
        ("университет", "универститет", True),
        ("northwind", "southwind", False),  # not inside
        ("holdings", "holding", False),
        ("andersen", "anderson", False),  # a vowel for another
        ("sulfate", "sulfite", False),
        ("martin", "martina", False),
        ("marina", "martina", False),  # both are words
        ("realty", "reality", False),
        ("irrevocable", "revocable", False),
        ("anna", "anra", False),  # too short
        ("fund1007", "fund1070", False),
        ("北京银行股份", "北京银行股分", False),
    ],
)
def test_a_slip_lies_inside_a_word_and_makes_no_other_word(one, other, slip):
    assert is_slip(one, other) is slip
    assert is_slip(other, one) is slip


@given(st.text("abcdeinorst", min_size=4, max_size=9), st.text("abcdeinorst", min_size=4, max_size=9))
def test_a_slip_is_one_whichever_word_comes_first(one, other):
    assert is_slip(one, other) == is_slip(other, one)
