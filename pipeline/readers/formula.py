"""Formulas of MathML written in a line: (a + b)/2, x^2, a_1, √(x). What an author wrote in TeX stays TeX."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["linear"]

_LEAVES = ("mi", "mn", "mo", "mtext", "ms")
_MAX_DEPTH = 100


def linear(math: LexborNode) -> str:
    """The formula of a `math` element in one line."""
    tex = math.css_first("annotation[encoding*=tex i]")
    source = (tex.text() if tex else math.attributes.get("alttext")) or ""
    return f"${_spaced(source)}$" if source.strip() else _spaced(_line(math, 0))


def _spaced(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def _line(node: LexborNode, depth: int) -> str:  # noqa: C901, PLR0911, PLR0912 - a case an element of MathML
    tag = node.tag or ""
    if tag in _LEAVES or depth > _MAX_DEPTH:
        return (node.text() or "").strip()
    if tag in ("annotation", "annotation-xml", "mphantom", "none", "mprescripts"):
        return ""
    parts = []
    child = node.child
    while child is not None:
        if child.tag == "-text":
            if tag not in ("mfrac", "msup", "msub"):
                parts.append((child.text_content or "").strip())
        elif child.tag != "-comment":
            parts.append(_line(child, depth + 1))
        child = child.next
    parts = parts if tag in ("mfrac", "msup", "msub", "msubsup", "mroot") else [part for part in parts if part]
    first, second, third = ([*parts, "", "", ""])[:3]
    match tag:
        case "mfrac":
            return f"{_operand(first)}/{_operand(second)}"
        case "msup" | "mover":
            return f"{_operand(first)}^{_operand(second)}" if second else first
        case "msub" | "munder":
            return f"{_operand(first)}_{_operand(second)}" if second else first
        case "msubsup" | "munderover":
            low, high = f"_{_operand(second)}" if second else "", f"^{_operand(third)}" if third else ""
            return f"{_operand(first)}{low}{high}"
        case "msqrt":
            return f"√({_row(parts)})"
        case "mroot":
            return f"√[{second}]({first})"
        case "mfenced":
            opened, closed = node.attributes.get("open") or "(", node.attributes.get("close") or ")"
            return f"{opened}{', '.join(parts)}{closed}"
        case "mtable":
            return f"[{'; '.join(parts)}]"
        case "mtr" | "mlabeledtr":
            return ", ".join(parts)
        case "mspace":
            return " "
    return _row(parts)


def _row(parts: Sequence[str]) -> str:
    """Parts beside each other, with a space where one would run on into the next: 2 1/2, c^2 x, 1/2 √(x)."""
    row, before = "", ""
    for part in parts:
        composite = any(sign in before for sign in "^_/") and (part[:1].isalnum() or part[:1] == "√")
        mixed = before[-1:].isdigit() and part[:1].isdigit() and any(sign in part for sign in "^_/")
        row += f" {part}" if composite or mixed else part
        before = part
    return row


def _operand(text: str) -> str:
    return text if len(text) == 1 or re.fullmatch(r"\w+(?:[.,]\d+)?", text) or not text else f"({text})"
