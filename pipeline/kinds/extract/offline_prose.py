"""Readable sentences of a text: what an extractive summary may quote.

Headings, page numbers, table rows, tables of contents and rules are left out; hard-wrapped lines are
joined. Every sentence stands in the source word for word, white space folded. Sentence bounds: nupunkt
(Punkt, Kiss and Strunk 2006) with German joins added, and 。！？ for Chinese and Japanese, which nupunkt
does not split. Time and memory are linear in the text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

import regex

__all__ = ["CUT_MARK", "Sentence", "sentences", "word_weight"]

CUT_MARK = " […]"
"""Ends a sentence that was cut at a clause because it was too long."""

MIN_WORDS = 5
MAX_WORDS = 60
MAX_PIECE = 10_000  # characters of one paragraph handed to the splitter at once: bounds a text without breaks
CJK_WORD = 0.6  # words a Han or kana character counts for: about 1.7 characters make a Chinese word

RUNNING = 5  # times a line must come again to be a running head

_CJK = r"\p{Han}\p{Hiragana}\p{Katakana}"
_CJK_CHAR = regex.compile(f"[{_CJK}]")
_WORD = regex.compile(r"[\p{L}\p{N}][\p{L}\p{N}\p{M}'’.\-]*")
_DIGITS = regex.compile(r"\d+")
_SPACE = regex.compile(r"\s+")
_HEADING = regex.compile(r"#{1,6}\s")
_RULE = regex.compile(r"[\s=\-~^*_+|:.#]+")
_PAGE_NUMBER = regex.compile(
    r"\W*(?:page|seite|p\.|s\.)?\s*(?:\d{1,5}|[ivxlc]{1,7})\W*(?:(?:of|von)\s*\d+)?\W*", regex.I
)
_TABLE = regex.compile(r"\|[^|]+\||\t[^\t]*\t|\S(?: {3,}|\t)\S+(?:.*?\S)??(?: {3,}|\t)\S")
_CONTENTS = regex.compile(r"(?:\.\s?){5,}|…{2,}")
_ITEM = regex.compile(r"(?:[-*•‣–+]|\(?(?:\d{1,3}|[A-Za-z]|[ivx]{1,5})[.)])\s+")
_ENDS = regex.compile(r"[.!?。！？…][\"'”’»«“‘」』)\]*_\d]*$")
_FOOTNOTE = regex.compile(r"(?<=[\p{L})][.!?][”’\"]?)\d{1,4}$")
_NOTED_END = regex.compile(r"(?<=\p{L}[.!?][”’\"]?\d{1,4}) (?=\p{Lu})")
_CJK_END = regex.compile(r"(?<=[。！？])(?![。！？」』”’）])|(?<=[。！？][」』”’）])(?![。！？」』”’）])")
_LOWER_START = regex.compile(r"[\"'(„“‚‘»«\[]*\p{Ll}")
# Where Punkt's English model ends a German sentence too early.
_GERMAN_JOIN = regex.compile(
    r"(?:\b(?:Abs|ABl|BGBl|Nr|Nrn|Art|Kap|Ziff|Buchst|Bd|Hs|Satz|vgl|bzw|sog|ca|gem|i\. ?V|Dr|Prof|Hr|Fr|St|Str|"
    r"[zdu]\. ?[BhRa]|i\. ?d|[zidu])|"
    r"\b(?:am|vom|zum|bis|seit|ab|den|der|dem|des|das|die|im|zur|und|Der|Die|Das|Am|Im|Vom) \d{1,2})\.$"
)
_CLAUSE = regex.compile(r"[;,:—–；，：、]")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A sentence with white space folded and its weight in words; `lead`: the first of its paragraph."""

    text: str
    words: float
    lead: bool


def word_weight(text: str) -> float:
    """Words in `text`; a Han or kana character counts for 0.6."""
    han = len(_CJK_CHAR.findall(text))
    return CJK_WORD * han + len(_WORD.findall(_CJK_CHAR.sub(" ", text) if han else text))


def sentences(text: str) -> list[Sentence]:
    """The quotable sentences of `text`, in order; those that read as prose, or all if hardly any does."""
    found: list[Sentence] = []
    prose: list[Sentence] = []
    total = 0.0
    for number, paragraph in enumerate(_paragraphs(text)):
        for position, raw in enumerate(_split(paragraph)):
            sentence = _FOOTNOTE.sub("", raw.strip())
            if marker := _ITEM.match(sentence):
                sentence = sentence[marker.end() :]
            letters = sum(map(str.isalpha, sentence)) / max(1, len(sentence) - sentence.count(" "))
            words = word_weight(sentence)
            if not words or letters < 0.5:
                continue
            bare = _bounded(sentence, words)
            item = Sentence(bare, min(words, word_weight(bare)), position == 0)
            found.append(item)
            total += item.words
            whole = not _LOWER_START.match(sentence)
            dense = letters >= (0.55 if _CJK_CHAR.search(sentence) else 0.7)  # Chinese has no spaces, only marks
            if words >= MIN_WORDS and dense and _ENDS.search(sentence) and (whole or number + position == 0):
                prose.append(item)
    return prose if sum(item.words for item in prose) >= 0.2 * total else found


def _paragraphs(text: str) -> Iterator[str]:
    """The paragraphs, their lines joined, without what is no running text."""
    block = list[str]()
    lines = [line.strip() for line in text.splitlines()]
    running = _running(lines)
    for line in (*lines, ""):
        if line and not _HEADING.match(line) and not _RULE.fullmatch(line):
            if len(line) > 2 * MAX_PIECE or not (line in running or _PAGE_NUMBER.fullmatch(line) or _is_table(line)):
                block.append(line)
            continue
        if len(block) != 1 or len(block[0]) > 100 or _ENDS.search(block[0]):  # a short line on its own is a heading
            yield from _join(block)
        block = []


def _running(lines: list[str]) -> set[str]:
    """Running heads and feet: lines that come again and again, numbers aside; none if half of the text is so."""
    shapes = {line: _DIGITS.sub("0", line) for line in lines if 0 < len(line) <= 150}
    times = Counter(shapes[line] for line in lines if line in shapes)
    running = {line for line, shape in shapes.items() if times[shape] >= RUNNING}
    return running if sum(line in running for line in lines) < len(lines) / 2 else set()


def _is_table(line: str) -> bool:
    return bool(_CONTENTS.search(line) or _TABLE.search(line))


def _join(lines: list[str]) -> Iterator[str]:
    """Hard-wrapped lines joined to paragraphs; long lines are paragraphs already."""
    width = max(map(len, lines), default=0)
    part = last = ""
    for line in lines:
        ended = not part or part[-1] in '.:;!?。！？：；”"'
        wrapped = width <= 150 and not (ended and (_ITEM.match(line) or len(last) < 0.7 * width))
        if part and wrapped:
            part += _seam(part, line) + line
        else:
            yield from _pieces(part)
            part = line
        last = line
    yield from _pieces(part)


def _seam(left: str, right: str) -> str:
    hyphen = left[-1] == "-" and left[-2:-1].isalpha() and right[0].islower()
    cjk = not left[-1].isascii() and not right[0].isascii() and bool(_CJK_CHAR.search(left[-2:] + right[:2]))
    return "" if hyphen or cjk else " "


def _pieces(paragraph: str) -> Iterator[str]:
    start = 0
    while start < len(paragraph):
        end = start + MAX_PIECE
        if end < len(paragraph):
            end = paragraph.rfind(" ", start + 1, end) + 1 or end
        yield _SPACE.sub(" ", paragraph[start:end])
        start = end


def _split(paragraph: str) -> list[str]:
    from nupunkt import sent_spans

    if len(_CJK_CHAR.findall(paragraph)) > 0.3 * len(paragraph):
        return [part for part in _CJK_END.split(paragraph) if part]
    parts: list[str] = []
    for fixed in paragraph.replace(CUT_MARK, CUT_MARK + "\0").split("\0"):  # a mark from an earlier summary ends
        fresh = True
        for start, end in sent_spans(fixed):
            part = fixed[start:end]
            if not fresh and (_GERMAN_JOIN.search(parts[-1].rstrip()) or _LOWER_START.match(part)):
                parts[-1] += part
            else:
                parts += _NOTED_END.split(part)
            fresh = False
    return parts


def _bounded(sentence: str, words: float) -> str:
    """`sentence`, or its beginning up to a clause or word and `CUT_MARK` where it is too long."""
    if words <= MAX_WORDS and len(sentence) <= 12 * MAX_WORDS:
        return sentence
    head = sentence[: int(len(sentence) * min(1.0, MAX_WORDS / words))][: 12 * MAX_WORDS]
    clauses = [match.start() for match in _CLAUSE.finditer(head) if match.start() > len(head) // 2]
    cut = clauses[-1] if clauses else head.rfind(" ")
    return (head[:cut] if cut > 0 else head).rstrip() + CUT_MARK
