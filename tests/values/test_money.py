"""Money as whole pico-dollars, and as people read it."""

import pytest
from docreduce.values.money import PICO, money, usd
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    ("pusd", "shown"),
    [
        (0, "$0.00"),
        (676_760_000, "$0.000677"),
        (70_000, "$0.0000000700"),
        (PICO // 2, "$0.500"),
        (PICO, "$1.00"),
        (12_345_678 * PICO // 10, "$1,234,567.80"),
        (-PICO // 4, "-$0.250"),
    ],
)
def test_money_is_shown_with_three_digits_below_a_dollar_and_cents_above(pusd: int, shown: str) -> None:
    assert money(pusd) == shown


@given(st.integers(-(10**24), 10**24))
def test_dollars_are_exact(pusd: int) -> None:
    assert usd(pusd) * PICO == pusd
