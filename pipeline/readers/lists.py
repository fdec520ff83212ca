"""The labels of lists: numbers, letters and Roman numerals, counted as HTML counts them.

https://html.spec.whatwg.org/multipage/grouping-content.html#ordinal-value"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["NUMBERS", "List", "integer"]


class List:
    """A list's own count."""

    def __init__(self, node: LexborNode) -> None:
        given, style = (
            node.attributes,
            re.search(r"list-style(?:-type)?:\s*([a-z-]+)", node.attributes.get("style") or ""),
        )
        self._kind = style[1] if style else (given.get("type") or "1") if node.tag == "ol" else "-"
        self._step = -1 if "reversed" in given else 1
        items = sum(child.tag == "li" for child in node.iter()) if self._step < 0 else 1
        self._next = integer(given.get("start"), items)

    def label(self, item: LexborNode, depth: int) -> str:
        """The label of the next item, with its space, indented by two for each list around this one."""
        self._next = integer(item.attributes.get("value"), self._next)
        number, self._next = self._next, self._next + self._step
        if self._kind == "none":
            return "  " * (depth - 1)
        form = NUMBERS.get(self._kind)
        return "  " * (depth - 1) + (f"{form(number)}. " if form else "- ")


def _letters(number: int) -> str:
    name = ""
    while number > 0:
        number, digit = divmod(number - 1, 26)
        name = chr(ord("a") + digit) + name
    return name or str(number)


def _roman(number: int) -> str:
    if not 0 < number < 4000:
        return str(number)
    name = ""
    for value, sign in zip(
        (1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1),
        ["m", "cm", "d", "cd", "c", "xc", "l", "xl", "x", "ix", "v", "iv", "i"],
        strict=True,
    ):
        count, number = divmod(number, value)
        name += sign * count
    return name


NUMBERS: dict[str, Callable[[int], str]] = {
    "1": str,
    "decimal": str,
    "decimal-leading-zero": lambda number: f"{number:02}",
    "a": _letters,
    "A": lambda number: _letters(number).upper(),
    "i": _roman,
    "I": lambda number: _roman(number).upper(),
    "lower-alpha": _letters,
    "lower-latin": _letters,
    "upper-alpha": lambda number: _letters(number).upper(),
    "upper-latin": lambda number: _letters(number).upper(),
    "lower-roman": _roman,
    "upper-roman": lambda number: _roman(number).upper(),
}


def integer(text: str | None, default: int) -> int:
    match = re.match(r"\s*([+-]?\d{1,6})", text or "")
    return int(match[1]) if match else default
