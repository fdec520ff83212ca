"""XHTML is XML: written as HTML for the HTML reader, because HTML takes no element for closed that closes itself."""

from __future__ import annotations

import re

from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.html import decode_page, page_of
from docreduce.readers.xml import decode_xml

__all__ = ["FORMAT", "expanded", "is_xhtml"]

_VOID = frozenset(
    ["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"]
)
_XML_PIECES = re.compile(
    r"<!--.*?-->|<!\[CDATA\[(?P<cdata>.*?)\]\]>|<(?P<raw>script|style)\b(?:[^>\"']|\"[^\"]*\"|'[^']*')*(?<!/)>.*?</(?P=raw)\s*>"
    r"|<(?P<tag>[A-Za-z][\w.:-]*)(?P<given>(?:[^<>\"']|\"[^\"]*\"|'[^']*')*?)/>",
    re.DOTALL,
)
_PREFIX = re.compile(r"""xmlns:([\w-]+)\s*=\s*["']http://www\.w3\.org/1999/xhtml["']""")
_DOCTYPE = re.compile(r"<!DOCTYPE[^\[>]*\[.*?\]\s*>", re.DOTALL)
_ENTITY = re.compile(r"""<!ENTITY\s+([\w.-]+)\s+(?:"([^"]*)"|'([^']*)')\s*>""")


def is_xhtml(head: bytes) -> bool:
    """Whether a page that begins with `head` is XML: it says so."""
    start = head[:2048]
    return start.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<?xml") or b"http://www.w3.org/1999/xhtml" in start


def expanded(markup: str) -> str:
    """XHTML as HTML: an element that closes itself gets an end tag, which HTML would look for until the page's end."""
    prefix = _PREFIX.search(markup[:4096])
    if prefix:
        markup = re.sub(rf"<(/?){re.escape(prefix[1])}:", r"<\1", markup)
    entities = {name: double or single for name, double, single in _ENTITY.findall(markup[:65536])}

    def piece(match: re.Match[str]) -> str:
        if match["cdata"] is not None:
            return match["cdata"].replace("&", "&amp;").replace("<", "&lt;")
        if match["tag"] is None or match["tag"].lower() in _VOID:
            return match[0]
        return f"<{match['tag']}{match['given']}></{match['tag']}>"

    page = _XML_PIECES.sub(piece, _DOCTYPE.sub("<!DOCTYPE html>", markup, count=1))
    if entities:
        page = re.sub(r"&([\w.-]+);", lambda match: entities.get(match[1], match[0]), page)
    return page


def _read(raw: bytes, options: ReadOptions) -> Text:
    markup, doubt = decode_xml(raw, options.encoding) if b"<?xml" in raw[:100] else decode_page(raw, options.encoding)
    return page_of(expanded(markup), doubt)


FORMAT = FileFormat(
    name="xhtml", media_type="application/xhtml+xml", extensions=(".xhtml", ".xht"), read=_read, version=2
)
