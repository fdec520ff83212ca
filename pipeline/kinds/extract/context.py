"""What stands before a chunk and is no evidence: the header of a table that a border divides, the headings above, some
words before. It is told in turns of its own, marked as not to be extracted from; the chunk's text stays alone and last.
"""

from __future__ import annotations

from itertools import islice

import regex
from docreduce.kinds.plan import Plan
from docreduce.values import Chunk, Document, Message

__all__ = ["context", "header"]

DELIMITERS = (("|", 1), ("\t", 1), (";", 2), (",", 2))
"""What parts cells, and how many of it make a row."""
MAX_HEADER_CHARS = 2_000
"""A longer first row is no header."""
CAPTION_LINES = 4
"""Lines above a header in one paragraph with it."""
_RULE = regex.compile(r"[\s|:+=-]+")
"""The line that Markdown writes under a header."""


def context(document: Document, chunk: Chunk, plan: Plan, room_tokens: int) -> tuple[Message, ...]:
    """The turns before the chunk's text, none where there is nothing to say or no room for it.

    A header goes along wherever it has room; headings and words before only as `plan.context_tokens` wishes."""
    if not chunk.span.start:
        return ()
    head = header(document.text, chunk.span.start)
    for said in (_before(document, chunk, plan), ""):
        parts = [part for part in (said, head) if part]
        turns = _turns("\n".join(parts)) if parts else ()
        if plan.overhead_tokens(turns) <= room_tokens:
            return turns
    return ()


def header(text: str, start: int) -> str:
    """The header of the table that code point `start` of `text` lies in, behind its first row; "" where in none."""
    begin = max(text.rfind("\n\n", 0, start) + 2, 0)
    if text.rfind("\n\n", 0, start) < 0:
        begin = 0
    rest = text[start:]
    line = rest.lstrip("\n").split("\n", 1)[0]
    if len(rest) - len(rest.lstrip("\n")) > 1 and start > 0 and not text[:start].endswith("\n"):
        return ""
    at_line = text.rfind("\n", 0, start) + 1
    if at_line < start:  # inside a row: the whole of it counts its cells
        end = text.find("\n", start)
        line = text[at_line : end if end >= 0 else len(text)]
    for delimiter, fewest in DELIMITERS:
        cells = line.count(delimiter)
        if cells < fewest:
            continue
        lines = text[begin : min(start, begin + 2 * MAX_HEADER_CHARS)].split("\n")
        for at, first in islice(enumerate(lines), CAPTION_LINES + 1):
            if first.count(delimiter) == cells and len(first) <= MAX_HEADER_CHARS:
                if begin + sum(len(each) + 1 for each in lines[:at]) >= at_line:
                    return ""
                under = lines[at + 1] if at + 1 < len(lines) else ""
                return f"{first}\n{under}" if under and _RULE.fullmatch(under) else first
    return ""


def _before(document: Document, chunk: Chunk, plan: Plan) -> str:
    """The headings above the chunk, and the words before it, in `plan.context_tokens`."""
    if not plan.context_tokens:
        return ""
    path: list[tuple[int, str]] = []
    for mark in document.marks:
        if mark.kind == "heading" and mark.start < chunk.span.start:
            path = [(level, label) for level, label in path if level < mark.level] + [(mark.level, mark.label)]
    headings = " > ".join(label for _, label in path)
    left = plan.context_tokens - plan.tokenizer.count(headings) - 2
    if left < 0:
        return plan.tokenizer.truncate(headings, plan.context_tokens)
    return "\n".join(part for part in (headings, _last_words(document.text, chunk.span.start, left, plan)) if part)


def _last_words(text: str, end: int, tokens: int, plan: Plan) -> str:
    """The last words before code point `end`, whole ones, of at most `tokens` tokens."""
    words = text[max(0, end - 8 * tokens) : end]
    while words and plan.tokenizer.count(words) > tokens:
        excess = 1 - tokens / plan.tokenizer.count(words)
        words = words[max(1, int(len(words) * excess)) :].partition(" ")[2]
    return words.strip()


def _turns(said: str) -> tuple[Message, ...]:
    return (
        Message(
            "user",
            "This stands before the text that follows. It is there to understand the text by: extract nothing from it "
            f"and quote nothing of it.\n\n{said}",
        ),
        Message("assistant", "Send the text."),
    )
