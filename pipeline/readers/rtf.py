"""RTF written as HTML for the HTML reader, in a child process. Rich Text Format Specification 1.9.1.

(striprtf loses notes, struck and raised words and the columns of tables.)"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass, field, replace
from html import escape

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.html import GRID, extract
from docreduce.readers.rtf_words import CHARSETS, ESCAPES, MACHINES, PLACES, SHOWN, SIGNS, SILENT
from docreduce.readers.wordml import note, symbol
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT"]

_TOKEN = re.compile(
    rb"\\(?:([a-zA-Z]{1,32})(-?\d{1,10})? ?|'([0-9a-fA-F]{2})|([^a-zA-Z]))|([{}])|([^\\{}\r\n]+)|[\r\n]+"
)
# Destinations whose text is none of the document's.
_MAX_GROUPS = 1000


@dataclass(frozen=True, slots=True)
class _State:
    """What holds inside a group."""

    destination: str = ""
    font: int = 0
    raised: str = ""
    struck: bool = False
    hidden: bool = False
    skip: int = 1  # how many bytes stand for a \\u that a reader does not know


@dataclass(slots=True)
class _Rtf:
    """A file in the making: finished markup, the paragraph and the table's row being written."""

    encoding: str = "cp1252"
    fonts: dict[int, str] = field(default_factory=dict)
    names: dict[int, str] = field(default_factory=dict)
    levels: dict[int, int] = field(default_factory=dict)  # style -> outline level
    out: list[str] = field(default_factory=list)
    line: list[str] = field(default_factory=list)
    raw: bytearray = field(default_factory=bytearray)
    state: _State = field(default_factory=_State)
    stack: list[tuple[_State, list[str] | None]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    rows: list[str] = field(default_factory=list)
    cells: list[str] = field(default_factory=list)
    merges: list[str] = field(default_factory=list)
    merge: str = ""
    style: int = 0
    outline: int = 0
    in_table: bool = False
    star: bool = False
    ignore: int = 0
    count: int = 0

    def token(self, token: re.Match[bytes]) -> int:
        """Take a token; where the next one begins."""
        word, number, code, sign, brace, text = token.groups()
        if self.star and word and word.decode() not in SHOWN:
            self.state = replace(self.state, destination="info")  # an extension this reader does not know
        self.star = sign == b"*"
        if brace:
            (self.open if brace == b"{" else self.close)()
        elif word == b"bin":
            return token.end() + max(int(number or 0), 0)
        elif word:
            self.word(word.decode(), int(number) if number else None)
        elif code or text or sign in (b"\\", b"{", b"}"):
            self.bytes(bytes([int(code, 16)]) if code else text or sign)
        elif sign in ESCAPES:
            self.flush()
            self.text(ESCAPES[sign])
        elif sign in (b"\n", b"\r"):
            self.word("par", None)
        return token.end()

    # -- words ----------------------------------------------------------------------------------------------------

    def bytes(self, raw: bytes) -> None:
        if self.ignore:
            cut = min(self.ignore, len(raw))
            self.ignore -= cut
            raw = raw[cut:]
        self.raw += raw

    def flush(self) -> None:
        if not self.raw:
            return
        encoding = self.fonts.get(self.state.font, self.encoding)
        try:
            text = self.raw.decode(encoding, "replace")
        except LookupError:
            text = self.raw.decode("cp1252", "replace")
        if self.names.get(self.state.font, "").lower() in ("wingdings", "wingdings 2", "symbol"):
            text = "".join(symbol(self.names[self.state.font], f"{ord(c):x}") or c for c in text)
        self.raw.clear()
        self.text(text)

    def text(self, text: str) -> None:
        state = self.state
        if state.destination in SILENT:
            if state.destination == "fonttbl":
                self.names[state.font] = self.names.get(state.font, "") + text.rstrip(";")
            elif state.destination == "stylesheet" and (match := re.match(r"\s*heading (\d)", text)):
                self.levels[self.style] = int(match[1])
            return
        if state.hidden or not text:
            return
        words = escape(text)
        if text.strip():
            words = f"<{state.raised}>{words}</{state.raised}>" if state.raised else words
            words = f"<s>{words}</s>" if state.struck else words
        self.line.append(words)

    # -- blocks ---------------------------------------------------------------------------------------------------

    def paragraph(self) -> str:
        self.flush()
        content, self.line = _joined(self.line), []
        level = self.outline or self.levels.get(self.style, 0)
        tag = f"h{min(level, 6)}" if level and not self.in_table else "p"
        notes, self.notes = "".join(self.notes), []
        return (f"<{tag}>{content}</{tag}>" if content.strip() else "") + notes

    def end_paragraph(self) -> None:
        if self.in_table or any(line is not None for _, line in self.stack):  # in a cell, in a note
            self.flush()
            self.line.append("<br>")
            return
        self.end_table()
        self.out.append(self.paragraph())

    def end_cell(self) -> None:
        self.in_table = True
        self.cells.append(self.paragraph())

    def end_row(self) -> None:
        merges = [*self.merges, *[""] * len(self.cells)]
        cells: list[tuple[str, int]] = []
        for content, merge in zip(self.cells, merges, strict=False):
            if merge == "clmrg" and cells:
                cells[-1] = cells[-1][0] + content, cells[-1][1] + 1
            else:
                cells.append(("" if merge == "clvmrg" else content, 1))
        self.rows.append("".join(f'<td colspan="{span}">{content}</td>' for content, span in cells))
        self.cells = []

    def end_table(self) -> None:
        if self.cells:
            self.end_row()
        if self.rows:
            self.out.append(f"<table {GRID}>{''.join(f'<tr>{row}</tr>' for row in self.rows)}</table>")
            self.rows = []

    # -- groups ---------------------------------------------------------------------------------------------------

    def open(self) -> None:
        self.flush()
        if len(self.stack) > _MAX_GROUPS:
            raise DocumentError(f"the RTF nests groups more than {_MAX_GROUPS} deep")
        self.stack.append((self.state, None))

    def close(self) -> None:
        self.flush()
        if not self.stack:
            return
        self.state, line = self.stack.pop()
        if line is not None:  # the end of a note
            content, self.line = _joined(self.line).strip().removesuffix("<br>"), line
            self.notes.append(note(str(self.count), content))

    def word(self, name: str, number: int | None) -> None:
        """A control word with its number, if it has one."""
        self.flush()
        silent = self.state.destination in SILENT
        if name in SILENT or name in SHOWN:
            self.destination(name)
        elif name in SIGNS:
            if SIGNS[name][:1] in " <" and not silent:
                self.line.append(SIGNS[name])
            else:
                self.text(SIGNS[name])
        elif name == "u" and number is not None:
            self.text(_unicode(number))
            self.ignore = self.state.skip
        elif not (self.encodes(name, number) or self.letters(name, number) or self.styles(name, number) or silent):
            self.blocks(name)

    def encodes(self, name: str, number: int | None) -> bool:
        """Whether a word says how bytes are to be read."""
        if name == "ansicpg":
            self.encoding = f"cp{number}" if _is_codec(f"cp{number}") else self.encoding
        elif name in MACHINES:
            self.encoding = MACHINES[name]
        elif name == "fcharset":
            if number and number in CHARSETS and self.state.destination == "fonttbl":
                self.fonts[self.state.font] = CHARSETS[number]
        elif name == "uc":
            self.state = replace(self.state, skip=min(max(number or 0, 0), 100))
        else:
            return False
        return True

    def letters(self, name: str, number: int | None) -> bool:
        """Whether a word says how letters look."""
        state, on = self.state, number != 0
        if name == "f":
            self.state = replace(state, font=number or 0)
        elif name in PLACES:
            self.state = replace(state, raised=PLACES[name] if on else "")
        elif name in ("strike", "striked", "deleted"):
            self.state = replace(state, struck=on)
        elif name == "v":
            self.state = replace(state, hidden=on)
        elif name == "plain":
            self.state = replace(state, raised="", struck=False, hidden=False)
        else:
            return False
        return True

    def styles(self, name: str, number: int | None) -> bool:
        """Whether a word says what a paragraph is."""
        if name == "pard":
            self.in_table, self.outline, self.style = False, 0, 0
        elif name == "intbl":
            self.in_table = True
        elif name == "s":
            self.style = number or 0
        elif name == "outlinelevel":
            level = (number or 0) + 1 if (number or 0) < 9 else 0
            if self.state.destination == "stylesheet":
                self.levels[self.style] = level
            else:
                self.outline = level
        else:
            return False
        return True

    def blocks(self, name: str) -> None:
        """A word that ends a paragraph, a cell, a row, or says which cells are one."""
        if name in ("par", "sect"):
            self.end_paragraph()
        elif name in ("cell", "nestcell"):
            self.end_cell()
        elif name in ("row", "nestrow"):
            self.end_row()
            self.in_table = False
        elif name == "trowd":
            self.merges, self.merge = [], ""
        elif name in ("clmgf", "clmrg", "clvmgf", "clvmrg"):
            self.merge = name
        elif name == "cellx":
            self.merges.append(self.merge)
            self.merge = ""

    def destination(self, name: str) -> None:
        self.state = replace(self.state, destination=name if name in SILENT else "")
        if name == "footnote" and self.stack:
            self.count += 1
            self.line.append(f"[{self.count}]")
            self.stack[-1] = self.stack[-1][0], self.line
            self.line = []


def _joined(parts: list[str]) -> str:
    """A line's words; signs that go on over a change of font are one."""
    text = "".join(parts)
    for tag in ("s", "sup", "sub"):
        text = text.replace(f"</{tag}><{tag}>", "")
    return text


def _unicode(number: int) -> str:
    return chr(number + 65536 if number < 0 else min(number, 0x10FFFF))


def _is_codec(name: str) -> bool:
    try:
        codecs.lookup(name)
    except LookupError:
        return False
    return True


def _read(raw: bytes, options: ReadOptions) -> Text:
    start = raw.find(b"{\\rtf")
    if start < 0:
        raise DocumentError("the file is no RTF")
    rtf, at = _Rtf(), start
    while at < len(raw) and (rtf.stack or at == start):
        token = _TOKEN.match(raw, at)
        at = rtf.token(token) if token else at + 1
    complete = not rtf.stack
    rest = rtf.paragraph()
    if rtf.in_table:  # cut inside a row
        rtf.cells.append(rest)
    rtf.end_table()
    rtf.out.append("" if rtf.in_table else rest)
    found = extract("".join(rtf.out).encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
    if not found.text.strip():
        raise DocumentError("there is no text in it", kind="no_text")
    return Text(
        found.text, found.marks, None if complete else ("truncated_input", "the RTF ends before its last group does")
    )


FORMAT = FileFormat(name="rtf", media_type="application/rtf", extensions=(".rtf",), read=_read)
