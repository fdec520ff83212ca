"""Word's numbering and headings: what a paragraph's number reads, counted as Word counts it, and its outline level.

ECMA-376 part 1, sections 17.9 (numbering) and 17.7.4.17 (styles)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from docreduce.readers.lists import NUMBERS
from docreduce.readers.package import attribute, child, children

__all__ = ["Numbering"]

_FORMS = {
    "decimal": "1",
    "lowerLetter": "a",
    "upperLetter": "A",
    "lowerRoman": "i",
    "upperRoman": "I",
    "decimalZero": "decimal-leading-zero",
}
_MAX_BASES = 20


@dataclass(frozen=True, slots=True)
class _Level:
    form: str
    text: str
    start: int
    restart: int | None
    legal: bool


class Numbering:
    """Counts the paragraphs of a document in their order. `related` is what the document refers to."""

    def __init__(self, styles: Element | None, numbering: Element | None, related: dict[str, tuple[str, str]]) -> None:
        self.related = related
        self._styles = {attribute(style, "styleId"): style for style in children(styles, "style")}
        abstract = {attribute(each, "abstractNumId"): each for each in children(numbering, "abstractNum")}
        self._levels: dict[str, dict[int, _Level]] = {}
        self._shared: dict[str, str] = {}  # lists of one abstract numbering count together
        for each in children(numbering, "num"):
            base = abstract.get(attribute(child(each, "abstractNumId"), "val"))
            levels = {_integer(attribute(level, "ilvl")): _level(level) for level in children(base, "lvl")}
            number = attribute(each, "numId")
            self._shared[number] = attribute(child(each, "abstractNumId"), "val")
            for override in children(each, "lvlOverride"):
                depth, own, start = (
                    _integer(attribute(override, "ilvl")),
                    child(override, "lvl"),
                    child(override, "startOverride"),
                )
                if own is not None:
                    levels[depth] = _level(own)
                if start is not None and depth in levels:
                    old = levels[depth]
                    levels[depth] = _Level(
                        old.form, old.text, _integer(attribute(start, "val")), old.restart, old.legal
                    )
                    self._shared[number] = f"own {number}"
            self._levels[number] = levels
        self._counts: dict[str, dict[int, int]] = {}

    def paragraph(self, settings: Element | None) -> tuple[int, str]:
        """(heading level, 0 for none; label, empty for none) of the next paragraph."""
        chain = self._chain(attribute(child(settings, "pStyle"), "val"))
        holders = [settings, *(child(style, "pPr") for style in chain)]
        numbered = next((found for each in holders if (found := child(each, "numPr")) is not None), None)
        number = attribute(child(numbered, "numId"), "val")
        depth_given = child(numbered, "ilvl")
        if not number and numbered is not None:  # a style's list says its level alone
            number = next((n for each in holders if (n := attribute(child(each, "numPr", "numId"), "val"))), "")
        depth = _integer(attribute(depth_given, "val"))
        return self._heading(holders, chain), self._label(number, depth) if number and number != "0" else ""

    def _chain(self, style: str) -> list[Element]:
        chain: list[Element] = []
        while style in self._styles and len(chain) < _MAX_BASES:
            chain.append(self._styles[style])
            style = attribute(child(chain[-1], "basedOn"), "val")
        return chain

    def _heading(self, holders: list[Element | None], chain: list[Element]) -> int:
        outline = next((found for each in holders if (found := child(each, "outlineLvl")) is not None), None)
        if outline is not None:
            level = _integer(attribute(outline, "val"), 9)
            return min(level + 1, 6) if level < 9 else 0
        for style in chain:
            name = attribute(child(style, "name"), "val").lower()
            if match := re.fullmatch(r"heading (\d)", name):
                return min(int(match[1]), 6)
            if name == "title":
                return 1
        return 0

    def _label(self, number: str, depth: int) -> str:
        levels = self._levels.get(number, {})
        level = levels.get(depth)
        if level is None:
            return ""
        counts = self._counts.setdefault(self._shared[number], {})
        counts[depth] = counts.get(depth, level.start - 1) + 1
        for deeper, other in levels.items():
            if deeper > depth and other.restart != 0:
                counts.pop(deeper, None)
        if level.form == "bullet":
            return "  " * depth + "-"
        if level.form == "none":
            return ""

        def counted(match: re.Match[str]) -> str:
            at = int(match[1]) - 1
            other = levels.get(at)
            if other is None:
                return ""
            count = counts.setdefault(at, other.start)
            form = "1" if level.legal else _FORMS.get(other.form, "1")
            return NUMBERS[form](count)

        return re.sub(r"%(\d)", counted, level.text)


def _level(level: Element) -> _Level:
    restart = child(level, "lvlRestart")
    return _Level(
        attribute(child(level, "numFmt"), "val", "decimal"),
        attribute(child(level, "lvlText"), "val"),
        _integer(attribute(child(level, "start"), "val"), 1),
        None if restart is None else _integer(attribute(restart, "val")),
        child(level, "isLgl") is not None,
    )


def _integer(text: str, default: int = 0) -> int:
    return int(text) if re.fullmatch(r"-?\d{1,6}", text) else default
