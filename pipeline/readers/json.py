"""JSON: one document, verbatim but for characters that are written as escapes: words are to be words."""

from __future__ import annotations

import re

import orjson
from docreduce.readers.base import FileFormat, ReadOptions, Text
from docreduce.readers.text import decode

__all__ = ["FORMAT"]

_ESCAPES = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")


def _read(raw: bytes, options: ReadOptions) -> Text:
    text, doubt = decode(raw, options.encoding)
    if doubt is None:
        try:
            orjson.loads(text)
        except orjson.JSONDecodeError as error:
            # another dialect (comments, one value a line) is text like any other; what just ends is not all there was
            if error.pos >= len(text.rstrip()):
                doubt = "truncated_input", "the JSON ends before it is complete"
    return Text(_ESCAPES.sub(_unescaped, text), doubt=doubt)


def _unescaped(match: re.Match[str]) -> str:
    """The characters of a run of \\uXXXX; those that JSON wants escaped stay so."""
    units = b"".join(int(code, 16).to_bytes(2, "big") for code in match[2].split("\\u")[1:])
    codes = units.decode("utf-16-be", "surrogatepass")  # half a pair is no printable character: it stays an escape
    return match[1] + "".join(c if c.isprintable() and c not in '"\\' else f"\\u{ord(c):04x}" for c in codes)


FORMAT = FileFormat(
    name="json", media_type="application/json", extensions=(".json", ".geojson"), read=_read, sandboxed=False
)
