"""What Word and PowerPoint share: formulas of Office as MathML, symbols of picture fonts, and notes at their place."""

from __future__ import annotations

from html import escape
from xml.etree.ElementTree import Element

from docreduce.readers.package import attribute, child, children, descendants, local, tagged

__all__ = ["formula", "note", "symbol"]

# ECMA-376 part 1, section 22.1.2: the parts of a formula's element in MathML's order.
_FORMULAS = {
    "f": ("mfrac", ("num", "den")),
    "sSup": ("msup", ("e", "sup")),
    "sSub": ("msub", ("e", "sub")),
    "sSubSup": ("msubsup", ("e", "sub", "sup")),
    "limLow": ("munder", ("e", "lim")),
    "limUpp": ("mover", ("e", "lim")),
    "func": ("mrow", ("fName", "e")),
    "mr": ("mtr", ()),
    "m": ("mtable", ()),
    "eqArr": ("mtable", ()),
}
# Ticks and boxes of Wingdings, Wingdings 2 and Symbol, as their fonts draw them.
_SYMBOLS = {
    "wingdings": {
        0x6F: "☐",
        0x71: "☐",
        0xA8: "☐",
        0xFC: "✓",
        0xFB: "✗",
        0xFD: "☒",
        0xFE: "☑",
        0xE0: "→",
        0xDF: "←",
        0x6C: "●",
        0xA7: "▪",
    },
    "wingdings 2": {0x50: "✓", 0x4F: "✗", 0x51: "☒", 0x52: "☑", 0x53: "☒", 0x54: "☒", 0x2A: "☐", 0xA3: "☐", 0x30: "☐"},
    "symbol": {
        0xB3: "≥",
        0xA3: "≤",
        0xB1: "±",
        0xB4: "×",
        0xB0: "°",
        0xB7: "•",
        0xB9: "≠",
        0xA5: "∞",
        0xAE: "→",
        0xD2: "®",
        0xD3: "©",
        0xD4: "™",
    },
}


def symbol(font: str, code: str) -> str:
    """The character that a picture font draws for a code (hexadecimal, often in the private use area)."""
    try:
        number = int(code, 16)
    except ValueError:
        return ""
    number = number - 0xF000 if 0xF000 <= number <= 0xF0FF else number
    known = _SYMBOLS.get(font.lower(), {}).get(number)
    return known or (chr(number) if font.lower() not in _SYMBOLS and number > 31 else "")


def formula(element: Element, depth: int = 0) -> str:  # noqa: PLR0911 - a case an element
    """An Office formula (oMath) as MathML."""
    if depth > 100:
        return ""
    name = local(element)
    if name in ("oMath", "oMathPara"):
        inner = "".join(formula(part, depth + 1) for part in element)
        return f"<math>{inner}</math>" if name == "oMath" and not depth else inner
    if name == "t":
        return f"<mi>{escape(element.text or '')}</mi>"
    if name.endswith("Pr"):
        return ""
    if name in _FORMULAS:
        tag, order = _FORMULAS[name]
        if tag == "mtable" and name == "eqArr":
            rows = "".join(f"<mtr>{_row(part, depth)}</mtr>" for part in children(element, "e"))
            return f"<mtable>{rows}</mtable>"
        parts = [_row(child(element, part), depth) for part in order] or [formula(part, depth + 1) for part in element]
        return f"<{tag}>{''.join(parts)}</{tag}>"
    if name == "rad":
        degree, root = child(element, "deg"), _row(child(element, "e"), depth)
        has_degree = degree is not None and any(text.text for text in descendants(degree, "t"))
        return f"<mroot>{root}{_row(degree, depth)}</mroot>" if has_degree else f"<msqrt>{root}</msqrt>"
    if name == "nary":
        sign = attribute(child(element, "naryPr", "chr"), "val", "∫")
        low, high, inner = (_row(child(element, part), depth) for part in ("sub", "sup", "e"))
        return f"<munderover><mo>{escape(sign)}</mo>{low}{high}</munderover><mo> </mo>{inner}"
    if name == "d":
        settings = child(element, "dPr")
        opened, closed = (
            attribute(child(settings, part), "val", sign) for part, sign in (("begChr", "("), ("endChr", ")"))
        )
        inner = "<mo>,</mo>".join(_row(part, depth) for part in children(element, "e"))
        return f"<mo>{escape(opened)}</mo>{inner}<mo>{escape(closed)}</mo>"
    return "".join(formula(part, depth + 1) for part in element)


def _row(element: Element | None, depth: int) -> str:
    return f"<mrow>{formula(element, depth + 1) if element is not None else ''}</mrow>"


def note(label: str, content: str) -> str:
    """A note's own paragraph, after the one it belongs to."""
    return tagged("p", content and f"[{escape(label)}] {content}")
