"""Plain text in whatever encoding it came. Nothing is normalized but a byte-order mark taken off."""

from __future__ import annotations

import codecs
import re

from docreduce.readers.base import SAMPLE_BYTES, FileFormat, Text
from docreduce.values.errors import DocumentError

__all__ = ["FORMAT", "decode", "encoding_of"]

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
# What texts still come in, the likelier first among equals. Left out: code pages that accept any bytes.
_LEGACY = ["cp1252", "gb18030", "cp932", "euc_jp", "big5", "cp949", "cp1250", "cp1251", "koi8_r", "cp1253", "cp1256"]
_WIDE = ["utf_16_le", "utf_16_be", "utf_32_le", "utf_32_be"]
_DETECT_BYTES = 2**16
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1a\x1c-\x1f\x7f]")
_MAX_CONTROL_SHARE = 0.01


def encoding_of(sample: bytes, *, whole: bool) -> str:
    """The encoding of text that begins with `sample`; `whole` says that nothing follows it.

    Raises DocumentError not_text where no text encoding explains the bytes."""
    for bom, name in _BOMS:
        if sample.startswith(bom):
            return name
    kind = next((kind for magic, kind in _MAGIC if sample.startswith(magic)), None)
    if kind:
        raise DocumentError(f"the content is {kind}, not text", kind="not_text")
    if b"\0" in sample:
        found = _detected(sample[:_DETECT_BYTES], sample, _WIDE)
        if found is None:
            raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")
        return found
    if len(_CONTROL.findall(sample)) > _MAX_CONTROL_SHARE * len(sample):
        raise DocumentError("the content is binary, not text", kind="not_text")
    if _is_utf8(sample, whole=whole):
        return "utf-8"
    # The stretch with the most to go by: the line of the first byte that is not ASCII, and whole lines after it.
    first = next(i for i, byte in enumerate(sample) if byte > 127)
    start = sample.rfind(b"\n", 0, first) + 1 if first < _DETECT_BYTES else first
    stretch = sample[start : start + _DETECT_BYTES]
    found = _detected(stretch[: stretch.rfind(b"\n") + 1] or stretch, sample, _LEGACY)
    if found or _decodes(sample, "cp1252"):
        return found or "cp1252"
    raise DocumentError("no known text encoding explains the bytes", kind="not_text", hint="Save the file as UTF-8.")


def decode(raw: bytes) -> str:
    """The text of `raw`. A few broken bytes in UTF-8 become U+FFFD. Raises DocumentError empty or not_text."""
    if not raw:
        raise DocumentError("the file is empty", kind="empty")
    encoding = encoding_of(raw[:SAMPLE_BYTES], whole=len(raw) <= SAMPLE_BYTES)
    if "16" not in encoding and "32" not in encoding and b"\0" in raw:
        raise DocumentError("the content is binary, not text: it holds zero bytes", kind="not_text")
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError:  # the sample did not show what comes later
        return raw.decode(encoding_of(raw, whole=True), "replace")


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


def _detected(stretch: bytes, sample: bytes, encodings: list[str]) -> str | None:
    """The one of `encodings` that explains `stretch` best and reads all of `sample`; None where none does."""
    from charset_normalizer import from_bytes

    candidates = [
        (match.chaos, -match.coherence, encodings.index(name), name)
        for match in from_bytes(stretch, cp_isolation=encodings)
        for name in match.could_be_from_charset
        if name in encodings
    ]
    return next((name for *_, name in sorted(candidates) if _decodes(sample, name)), None)


def _read(raw: bytes) -> Text:
    return Text(decode(raw))


FORMAT = FileFormat(
    name="text", media_type="text/plain", extensions=(".txt", ".text", ".log", ".rst", ".adoc", ".tex"), read=_read
)
