"""The words a picture has for those who cannot see it: its alternative text, in square brackets.

A picture that decorates says so, or has a text that is none: a file's name, "image". What its caption or link says
already is not said twice."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from docreduce.readers.lists import integer
from docreduce.readers.writer import collapsed

if TYPE_CHECKING:
    from selectolax.lexbor import LexborNode

__all__ = ["PICTURES", "alternative", "described"]

PICTURES = "img[alt], img[aria-label], svg[aria-label], [role=img][aria-label]"

_FILE = re.compile(
    r".*\.(?:png|jpe?g|gif|svg|webp|bmp|tiff?|emf|wmf|avif|heic)|(?:https?:|data:|cid:)\S*", re.IGNORECASE
)
_EMPTY = frozenset(["image", "img", "picture", "pic", "photo", "icon", "spacer", "graphic", "blank", "bild", "grafik"])
_NUMBERED = re.compile(r"[\s_-]*\d*")
_LARGE = 1000
_SIGN = 32
"""Pixels: a picture in a link that is no larger is a sign to press."""
_STEPS = 4
_DECORATIVE_ROLES = ("presentation", "none")


def alternative(text: str) -> str:
    """`text` as it stands for a picture: in brackets, a lone sign (😀, ✓) without; empty where it says nothing."""
    words = collapsed(text)
    if not words or _FILE.fullmatch(words):
        return ""
    if not any(map(str.isalnum, words)):
        return "" if words.isascii() else words
    name = re.match(r"[^\W\d_]+", words)
    if name and name[0].lower() in _EMPTY and _NUMBERED.fullmatch(words, name.end()):
        return ""
    return f"[{words}]"


def described(node: LexborNode) -> str:
    """The alternative of a picture on a page; empty where it decorates or repeats the words it belongs to."""
    given = node.attributes
    if given.get("aria-hidden") == "true" or given.get("role") in _DECORATIVE_ROLES:
        return ""
    sizes = [integer((given.get(side) or "").removesuffix("px"), _LARGE) for side in ("width", "height")]
    if min(sizes) <= 1 or (max(sizes) <= _SIGN and _above(node, "a") is not None):
        return ""  # it counts who opens the page; it is pressed
    text = collapsed(given.get("aria-label") or given.get("alt") or "")
    words = alternative(text)
    if words.startswith("[") and text.casefold() in _beside(node).casefold():
        return ""
    return f" {words} " if words.startswith("[") else words


def _beside(node: LexborNode) -> str:
    """The caption, or the words of the link, that a picture belongs to."""
    link, figure = _above(node, "a"), _above(node, "figure")
    caption = figure.css_first("figcaption") if figure is not None else None
    return " ".join(collapsed(each.text() or "") for each in (link, caption) if each is not None)


def _above(node: LexborNode, tag: str) -> LexborNode | None:
    """The element with this tag that a picture is in, a few steps up."""
    above = node.parent
    for _ in range(_STEPS):
        if above is None or above.tag == tag:
            return above
        above = above.parent
    return None
