"""Money between dollars, as people write them, and whole pico-dollars, in which sums are exact."""

from __future__ import annotations

from decimal import ROUND_HALF_UP, Decimal

__all__ = ["PICO", "money", "pusd", "usd"]

PICO = 10**12
"""Pico-dollars in a dollar."""


def pusd(dollars: float | Decimal) -> int:
    """Whole pico-dollars of an amount as a person wrote it."""
    return int((Decimal(str(dollars)) * PICO).to_integral_value(ROUND_HALF_UP))


def usd(pusd: int) -> Decimal:
    """Dollars, exactly."""
    return Decimal(pusd).scaleb(-12)


def money(pusd: int) -> str:
    """Dollars for people: cents from one dollar up, three significant digits below; "$0.000677"."""
    amount = abs(usd(pusd))
    places = 2 if amount >= 1 or not amount else 2 - amount.adjusted()
    rounded = amount.quantize(Decimal(1).scaleb(-places), ROUND_HALF_UP)
    return f"{'-' if pusd < 0 else ''}${rounded:,f}"
