"""Where sentences end and how many words a text has, in any script.

A sentence ends where Unicode says so (the property Sentence_Terminal): । ۔ ። ։ ။ 。 ． and the like end it wherever
they stand. A full stop also ends abbreviations: nupunkt judges it (Punkt, Kiss and Strunk 2006, trained on law and
finance). Thai and Lao write a space instead. A paragraph ends a sentence too. Words are what white space parts;
scripts that write none between words are parted by ICU's dictionaries. Time is linear in the text.
"""

from __future__ import annotations

from collections.abc import Iterator

import regex

__all__ = ["sentences", "words"]

_MARKED = regex.compile(  # ends that need no judge: not . ! ? of ASCII, and what closes with them
    r"[\p{Sentence_Terminal}--[.!?]][\p{Sentence_Terminal}\p{Pe}\p{Pf}\p{Pi}\"']*+"
    r"|(?<=[\p{Thai}\p{Lao}])\s(?=[\p{Thai}\p{Lao}])",
    regex.V1,
)
_GOES_ON = regex.compile(r"[\p{Pi}\p{Ps}\"']*+\p{Ll}")
_ORDINAL = regex.compile(r"(?:\b(?:am|vom|zum|bis|seit|ab|de[nrms]|das|die|im|zur|und)|§) \d{1,2}\.\s*+$", regex.I)
"""A German day or number; nupunkt's model is English."""
_ALONE = regex.compile(r"\s*+(?:#{1,6}\s|\|)")
"""A heading or a table's row of Markdown is a paragraph by itself."""
_ITEM = regex.compile(r"\s*+(?:[-*•‣–+>]|\(?(?:\d{1,3}|\p{L}|[ivx]{1,5})[.)])\s")
"""An item of a list begins one."""
_UNSPACED = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}ー々〆\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}\p{Tai_Le}\p{New_Tai_Lue}\p{Tai_Tham}]+"
)
_ALNUM = regex.compile(r"[\p{L}\p{N}]")


def sentences(text: str) -> list[tuple[int, int]]:
    """The sentences of `text` as half-open spans in order, without the white space around them.

    Between them stands nothing but white space."""
    from nupunkt import sent_spans

    found: list[tuple[int, int]] = []
    for first, last in _paragraphs(text):
        paragraph = text[first:last]
        start = 0
        for _, stop in sent_spans(paragraph):
            rest = stop < len(paragraph) and (
                _GOES_ON.match(paragraph, stop) or _ORDINAL.search(paragraph, max(start, stop - 20), stop)
            )
            if rest:
                continue
            for mark in _MARKED.finditer(paragraph, start, stop):
                found.append((first + start, first + mark.end()))
                start = mark.end()
            found.append((first + start, first + stop))
            start = stop
        found.append((first + start, last))
    return [span for start, end in found if (span := _trimmed(text, start, end))]


def words(text: str) -> int:
    """How many words `text` has: those of `text.split()` where its script writes spaces."""
    if not _UNSPACED.search(text):
        return len(text.split())
    from icu4py.breakers import WordBreaker

    tokens = _UNSPACED.sub(" ", text).split()
    tokens += WordBreaker(" ".join(_UNSPACED.findall(text)), "root")
    return sum(1 for token in tokens if _ALNUM.search(token))


def _paragraphs(text: str) -> Iterator[tuple[int, int]]:
    """Runs of lines: a blank line parts them, and so does the end of a line less than half as long as the next,
    which is a heading or a paragraph's last."""
    start = place = 0
    last = ""
    for line in text.splitlines(keepends=True):
        short = 2 * len(last.strip()) < len(line.strip())
        if last.strip() and (
            not line.strip() or short or _ITEM.match(line) or _ALONE.match(line) or _ALONE.match(last)
        ):
            yield start, place
            start = place
        place += len(line)
        last = line if line.strip() else ""
    if place > start:
        yield start, place


def _trimmed(text: str, start: int, end: int) -> tuple[int, int] | None:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return (start, end) if start < end else None
