"""Plain text in whatever encoding it came. Nothing is normalized but a byte-order mark taken off."""

from __future__ import annotations

import codecs
import re

from pipeline.config import InputSettings
from pipeline.errors import DocumentError
from pipeline.readers.base import SAMPLE_BYTES, FileFormat, Text

__all__ = ["FORMAT", "decode", "encoding_of", "foreign_kind"]

_BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16: its mark begins with the same two bytes
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_MAGIC = (
    (b"%PDF-", "PDF"),
    (b"PAR1", "Parquet"),
    (b"PK\x03\x04", "a ZIP container (DOCX, EPUB, ODT, XLSX …)"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office file (DOC, XLS, PPT)"),
    (b"{\\rtf", "RTF"),
    (b"\x1f\x8b", "gzip in gzip"),
    (b"\x28\xb5\x2f\xfd", "Zstandard"),
    (b"7z\xbc\xaf\x27\x1c", "7-Zip"),
    (b"\x89PNG", "a PNG picture"),
    (b"\xff\xd8\xff", "a JPEG picture"),
    (b"GIF8", "a GIF picture"),
    (b"\x7fELF", "a program"),
    (b"SQLite format 3\x00", "an SQLite database"),
)
# What texts still come in, the likelier first among equals. Left out: code pages that accept any bytes.
_LEGACY = ["cp1252", "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1256"]
_DETECT_BYTES = 2**16
_CONTROL = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE = 0.01
_LATIN = re.compile(r"[\t\n\r\x20-\x7e\xa0-\u024f]")
_COMMON = re.compile(
    r"[\u0370-\u06ff\u0900-\u0e7f\u1e00-\u1fff\u2010-\u2027\u20ac\u3000-\u30ff\u4e00-\u9fff\uac00-\ud7a3\uff00-\uffef]"
)


def foreign_kind(head: bytes) -> str | None:
    """What kind of file begins with `head`, if it is one of the well-known kinds that are not text."""
    return next((kind for magic, kind in _MAGIC if head.startswith(magic)), None)


def encoding_of(sample: bytes, *, whole: bool) -> str:
    """The encoding of text that begins with `sample`; `whole` says that nothing follows it.

    Raises DocumentError not_text where no text encoding explains the bytes."""
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name
    kind = foreign_kind(sample)
    if kind:
        raise DocumentError(f"the content is {kind}, not text", kind="not_text")
    if b"\0" in sample:
        return _wide_encoding(sample)
    if len(_CONTROL.findall(sample)) > _MAX_CONTROL_SHARE * len(sample):
        raise DocumentError("the content is binary, not text", kind="not_text")
    if _is_utf8(sample, whole=whole):
        return "utf-8"
    return _legacy_encoding(sample)


def decode(raw: bytes) -> str:
    """The text of `raw`. A few broken bytes in UTF-8 become U+FFFD. Raises DocumentError empty or not_text."""
    if not raw:
        raise DocumentError("the file is empty", kind="empty")
    sample = raw[:SAMPLE_BYTES]
    encoding = encoding_of(sample, whole=len(sample) == len(raw))
    if "16" not in encoding and "32" not in encoding and b"\0" in raw:
        raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:  # the sample did not show what comes later
        return raw.decode(encoding_of(raw, whole=True), "replace")


def _wide_encoding(sample: bytes) -> str:
    """UTF-16 or UTF-32 without a mark: the one that gives nearly only characters which texts are made of."""
    sample = sample[:_DETECT_BYTES]
    best, encoding = 0.95, None
    for name in ("utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"):
        if _decodes(sample, name):
            text = sample.decode(name, "ignore")
            # English in the wrong byte order looks like rare Chinese: Latin counts a little more.
            score = (len(_LATIN.findall(text)) + 0.99 * len(_COMMON.findall(text))) / max(len(text), 1)
            if score > best:
                best, encoding = score, name
    if encoding:
        return encoding
    raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")


def _decodes(sample: bytes, encoding: str) -> bool:
    try:
        codecs.getincrementaldecoder(encoding)().decode(sample)
    except UnicodeDecodeError:
        return False
    return True


def _is_utf8(sample: bytes, *, whole: bool) -> bool:
    """Whether the bytes are UTF-8, give or take one broken sequence in ten."""
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample, whole)
    except UnicodeDecodeError:
        text = sample.decode("utf-8", "replace")
        broken = text.count("\ufffd")
        return len(text) - sum(map(str.isascii, text)) - broken > 10 * broken
    return True


def _legacy_encoding(sample: bytes) -> str:
    from charset_normalizer import from_bytes

    # The stretch with the most to go by: from the first byte that is not ASCII.
    first = next(i for i, byte in enumerate(sample) if byte > 127)
    start = sample.rfind(b"\n", 0, first) + 1 if first < _DETECT_BYTES else first
    stretch = sample[start : start + _DETECT_BYTES]
    stretch = stretch[: stretch.rfind(b"\n") + 1] or stretch
    candidates = [
        (match.chaos, -match.coherence, _LEGACY.index(name), name)
        for match in from_bytes(stretch, cp_isolation=_LEGACY)
        for name in match.could_be_from_charset
        if name in _LEGACY
    ]
    for *_, name in [*sorted(candidates), (0, 0, 0, "cp1252")]:
        if _decodes(sample, name):
            return name
    raise DocumentError("no known text encoding explains the bytes", kind="not_text", hint="Save the file as UTF-8.")


def _read(raw: bytes, settings: InputSettings) -> Text:
    return Text(decode(raw))


FORMAT = FileFormat(
    name="text", media_type="text/plain", extensions=(".txt", ".text", ".log", ".rst", ".adoc", ".tex"), read=_read
)
