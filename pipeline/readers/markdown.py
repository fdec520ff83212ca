"""Markdown: the text verbatim, with its headings (ATX and setext, outside code) marked. CommonMark 0.31, §4.2–4.3."""

from __future__ import annotations

import re

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.text import decode
from docreduce.values import Mark

__all__ = ["FORMAT", "headings"]

_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n|\Z)")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+(.*))?$")
_UNDERLINE = re.compile(r" {0,3}(=+|-+)[ \t]*$")
_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})(.*)$")
# Lines that are no paragraph and so cannot be underlined: lists, quotes, tables, indented code, HTML.
_NO_PARAGRAPH = re.compile(r"(?:    |\t| {0,3}(?:[-*+>|<]|\d{1,9}[.)])(?:\s|$|[|<>]))|.*\|")


def headings(text: str) -> tuple[Mark, ...]:
    """The headings of a Markdown text, in order, each at the start of its line."""
    marks: list[Mark] = []
    fence = ""
    title, title_start = "", 0  # a paragraph of one line, which an underline would make a heading
    paragraph = False
    front_matter = text.startswith(("---\n", "---\r\n"))
    for match in _LINE.finditer(text):
        line = match[0].rstrip("\r\n")
        goes_on, paragraph = paragraph, False
        if front_matter:
            front_matter = not (match.start() and line.rstrip() in ("---", "..."))
        elif fence:
            stripped = line.strip()
            if stripped.startswith(fence) and not stripped.strip(fence[0]):
                fence = ""
        elif opening := _opens_fence(line):
            fence, title = opening, ""
        elif atx := _ATX.match(line):
            # a closing run of # counts only after a space
            label = re.sub(r"(?:^|[ \t]+)#+[ \t]*$", "", atx[2] or "").strip()
            marks.append(Mark("heading", match.start(), label, len(atx[1])))
            title = ""
        elif title and (under := _UNDERLINE.match(line)):
            marks.append(Mark("heading", title_start, title, 1 if under[1][0] == "=" else 2))
            title = ""
        else:
            title = "" if goes_on or _NO_PARAGRAPH.match(line) else line.strip()
            title_start, paragraph = match.start(), bool(line.strip())
    return tuple(marks)


def _opens_fence(line: str) -> str:
    fence = _FENCE.match(line)
    if not fence or (fence[1][0] == "`" and "`" in fence[2]):
        return ""
    return fence[1]


def _read(raw: bytes, options: ReadOptions) -> Text:
    text, doubt = decode(raw, options.encoding)
    return Text(text, headings(text), doubt)


FORMAT = FileFormat(
    name="markdown",
    media_type="text/markdown",
    extensions=(".md", ".markdown", ".mdown", ".mkd"),
    read=_read,
    sandboxed=False,
)
