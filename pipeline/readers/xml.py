"""XML: one document, verbatim: names and attributes say as much as the text between them."""

from __future__ import annotations

import re
from xml.parsers import expat

from docreduce.readers.base import Doubt, FileFormat, ReadOptions, Text
from docreduce.readers.text import decode, decode_as, known_encoding

__all__ = ["FORMAT", "decode_xml"]

_DECLARATION = re.compile(rb"""^\s*<\?xml[^>]{0,200}?encoding\s*=\s*["']([A-Za-z0-9_.:-]{2,40})""")
# Where input just ends: no element found, unclosed token, unclosed CDATA section.
_ENDED = {expat.errors.codes[message] for message in ("no element found", "unclosed token", "unclosed CDATA section")}


def decode_xml(raw: bytes, encoding: str | None) -> tuple[str, Doubt | None]:
    """The text of an XML file: as the job names its encoding, as it declares it, or as its bytes look."""
    declared = _DECLARATION.search(raw[:1000])
    name = known_encoding(declared[1]) if declared else None
    if encoding is None and name and "16" not in name[:6]:  # a declaration that can be read is not in UTF-16
        text, doubt = decode_as(raw, name)
        if doubt is None:
            return text.removeprefix("\ufeff"), None
    return decode(raw, encoding)


def _read(raw: bytes, options: ReadOptions) -> Text:
    text, doubt = decode_xml(raw, options.encoding)
    return Text(text, doubt=doubt or _truncated(text))


def _truncated(text: str) -> Doubt | None:
    parser = expat.ParserCreate("utf-8")
    try:
        parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        if error.code in _ENDED:
            return "truncated_input", "the XML ends before its last element is closed"
    return None


FORMAT = FileFormat(name="xml", media_type="application/xml", extensions=(".xml",), read=_read, sandboxed=False)
