"""Plain text in whatever encoding it came. Nothing is normalized but a byte-order mark taken off.

The encoding is the one the job names, else that of a byte-order mark, else the one the file declares, else UTF-8 where
the bytes are it, else the one chardet judges. Where little speaks for its judgement, the document carries a doubt."""

from __future__ import annotations

import codecs
import re

import numpy as np
from docreduce.readers.base import SAMPLE_BYTES, Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.codepages import TELLING, detected, telling_places
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "decode", "decode_as", "encoding_of"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
# Kinds of files that people take for text; any other one is binary by its bytes.
_MAGIC = (
    (b"PK\x03\x04", "a ZIP container (DOCX, EPUB, ODT, XLSX …)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (DOC, XLS, PPT)"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "gzip in gzip"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
)
_CONTROL = [*range(1, 9), *range(14, 26), *range(28, 32), 127]
_MAX_CONTROL_SHARE = 0.01
_DECLARED = re.compile(rb"coding[:=][ \t]*([A-Za-z0-9_.-]{2,40})")  # as editors have it, PEP 263
# What these labels mean on the web: https://encoding.spec.whatwg.org/#names-and-labels
_WIDER = {
    "iso8859-1": "cp1252",
    "ascii": "cp1252",
    "iso8859-9": "cp1254",
    "iso8859-11": "cp874",
    "tis-620": "cp874",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "shift_jis": "cp932",
    "euc_kr": "cp949",
}
_DETECT_BYTES = 2**16
_FOREIGN_SHARE = 0.03
"""Letters past ASCII are 8–13 % of Polish, Czech or Turkish and up to 3 % of English, German or Spanish: below it,
cp1252 is no guess."""
_TYPOGRAPHIC = "‘’“”–—…•·«»©®™§€£°\xa0"


def encoding_of(sample: bytes, *, whole: bool) -> str:
    """The encoding of text that begins with `sample`; `whole` says that nothing follows it.

    Raises DocumentError not_text where no text encoding explains the bytes."""
    return _judged(sample, whole=whole)[0]


def decode(raw: bytes, encoding: str | None = None) -> tuple[str, Doubt | None]:
    """The text of `raw`, in `encoding` where a job names it, and what makes it doubtful. Bytes that make no sense
    become U+FFFD. Raises DocumentError empty or not_text."""
    if not raw:
        raise DocumentError("the file is empty", kind="empty")
    named = next((name for bom, name in _BOMS if raw.startswith(bom)), encoding)
    if named:
        return decode_as(raw, named)
    name, doubt = _judged(raw[:SAMPLE_BYTES], whole=len(raw) <= SAMPLE_BYTES)
    if not _is_wide(name) and b"\0" in raw:
        raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")
    if name.startswith("utf-8") or _decodes(raw, name, whole=True):
        text, broken = decode_as(raw, name)
        return text, broken or doubt
    return decode_as(raw, encoding_of(raw, whole=True))  # the sample did not show what comes later


def decode_as(raw: bytes, encoding: str) -> tuple[str, Doubt | None]:
    """The text of `raw` in `encoding`, and a doubt where bytes of it make no sense there."""
    try:
        return raw.decode(encoding), None
    except UnicodeDecodeError as error:
        if error.end == len(raw) and error.reason in (
            "unexpected end of data",
            "truncated data",
            "incomplete multibyte sequence",
        ):
            return raw.decode(encoding, "replace"), ("truncated_input", "the text ends in the middle of a character")
    text = raw.decode(encoding, "replace")
    broken = text.count("\ufffd")
    return text, ("doubtful_encoding", f"{broken:,} places make no sense as {encoding}; they are U+FFFD in the text")


def _judged(sample: bytes, *, whole: bool) -> tuple[str, Doubt | None]:
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name, None
    kind = next((kind for magic, kind in _MAGIC if sample.startswith(magic)), None)
    if kind:
        raise DocumentError(f"the content is {kind}, not text", kind="not_text")
    if b"\0" in sample:
        found = _detected(sample[: min(len(sample) // 4 * 4, _DETECT_BYTES)])
        if found is None or not _is_wide(found) or not _decodes(sample, found):
            raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")
        return found, None
    if (
        _is_escaped(sample)
        and (found := _detected(sample[:_DETECT_BYTES]))
        and "2022" in found
        and _decodes(sample, found)
    ):
        return found, None
    if _controls(sample) > _MAX_CONTROL_SHARE * len(sample):
        raise DocumentError("the content is binary, not text", kind="not_text")
    declared = _DECLARED.search(b"\n".join(sample[:1000].split(b"\n")[:2]))
    label = known_encoding(declared[1]) if declared else None
    if label and _decodes(sample, label, whole=whole):
        return label, None
    if _is_utf8(sample, whole=whole):
        return "utf-8", None
    return _code_page(sample)


def _controls(sample: bytes) -> int:
    """How many bytes are control characters that no text has."""
    octets = np.frombuffer(sample, np.uint8)
    return int(np.isin(octets[(octets < 32) | (octets == 127)], _CONTROL).sum())  # few are left to be looked up


def _is_escaped(sample: bytes) -> bool:
    """Whether it may be ISO-2022: seven bits, and so no UTF-8 in spite of it."""
    if b"\x1b" in sample and (b"\x1b$" in sample or b"\x1b(" in sample):
        return True
    return 0 <= sample.find(b"\x0e") < sample.rfind(b"\x0f")


def known_encoding(label: bytes) -> str | None:
    """Python's name for a declared encoding, in the wider sense that the web gives it; None for what is none."""
    try:
        name = codecs.lookup(label.decode("ascii")).name
    except (LookupError, UnicodeDecodeError):
        return None
    return _WIDER.get(name, name)


def _code_page(sample: bytes) -> tuple[str, Doubt | None]:
    # The stretch with the most to go by: the line of the first byte that is not ASCII, and whole lines after it.
    first = next(i for i, byte in enumerate(sample) if byte > 127)
    start = sample.rfind(b"\n", 0, first) + 1 if first < _DETECT_BYTES else first
    stretch = sample[start : start + _DETECT_BYTES]
    stretch = stretch[: stretch.rfind(b"\n") + 1] or stretch
    judged = [name for name in (_detected(stretch), "cp1252") if name and _decodes(sample, name)]
    if not judged:
        hint = "Name it in input.encoding, or save the file as UTF-8."
        raise DocumentError("no known text encoding explains the bytes", kind="not_text", hint=hint)
    found = judged[0]
    places = telling_places(sample)
    if places >= TELLING or (_is_plainly_western(sample) and _same(sample, found, "cp1252")):
        return found, None
    message = f"read as {found}, for which only {places} places speak; name it in input.encoding if it is another"
    return found, ("doubtful_encoding", message)


def _is_plainly_western(sample: bytes) -> bool:
    """Whether text is nearly all ASCII, and the rest letters and the signs that Windows puts for straight ones."""
    rest = [c for c in sample.decode("cp1252", "replace") if not c.isascii()]
    letters = sum(map(str.isalpha, rest))
    return letters < _FOREIGN_SHARE * len(sample) and all(c.isalpha() or c in _TYPOGRAPHIC for c in rest)


def _same(sample: bytes, *encodings: str) -> bool:
    return len({sample.decode(name, "replace") for name in encodings}) == 1


def _detected(stretch: bytes) -> str | None:
    name = detected(stretch)
    return known_encoding(name.encode()) if name else None


def _is_wide(encoding: str) -> bool:
    return "16" in encoding[:6] or "32" in encoding[:6]


def _decodes(sample: bytes, encoding: str, *, whole: bool = False) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample, whole)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(sample: bytes, *, whole: bool) -> bool:
    """Whether the bytes are UTF-8, give or take one broken sequence in ten."""
    if _decodes(sample, "utf-8", whole=whole):
        return True
    text = sample.decode("utf-8", "replace")
    broken = text.count("\ufffd")
    return len(text) - sum(map(str.isascii, text)) - broken > 10 * broken


def _read(raw: bytes, options: ReadOptions) -> Text:
    text, doubt = decode(raw, options.encoding)
    return Text(text, doubt=doubt)


FORMAT = FileFormat(
    name="text",
    media_type="text/plain",
    extensions=(".txt", ".text", ".log", ".rst", ".adoc", ".tex"),
    read=_read,
    sandboxed=False,
    version=2,
)
