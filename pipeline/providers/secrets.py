"""What must reach no output: a key that does not show itself, and is found in whatever spelling a service echoes it."""

from __future__ import annotations

import base64
import html
import re
from collections.abc import Callable, Iterator
from functools import partial
from urllib.parse import quote, quote_plus

import orjson

__all__ = ["ApiKey"]

MIN_SECRET_CHARS = 16
"""A shorter key is a placeholder ("EMPTY"), and a word like others."""
PIECE_CHARS = 8
"""A part of a key is found by one of its pieces; whoever cut it left at least two, less a character."""
PART_CHARS = 2 * PIECE_CHARS - 1
MOST_CHARS = 2**16
"""Of a message that are looked at; far less of it is shown."""


class ApiKey:
    """A key that does not show itself. An empty one means none."""

    __slots__ = ("_middles", "_pieces", "_secret")

    def __init__(self, secret: str) -> None:
        self._secret = secret
        spellings = _spellings(secret) if len(secret) >= MIN_SECRET_CHARS else ()
        self._pieces = tuple(
            (spelling[at : at + PIECE_CHARS], spelling)
            for spelling in spellings
            for at in range(0, len(spelling) - PIECE_CHARS + 1, PIECE_CHARS)
        )
        self._middles = tuple(spelling[len(spelling) // 2 :][:PIECE_CHARS] for spelling in spellings)

    def __repr__(self) -> str:
        return "ApiKey(…)"

    def __reduce__(self) -> str:
        raise TypeError("a key is not to be stored")

    def reveal(self) -> str:
        """The key itself, for a header or a body about to be sent."""
        return self._secret

    def redact(self, text: str) -> str:
        """`text` with the key, and parts of it of fifteen characters or more, replaced by `[key]`.

        For messages: only their first characters are kept."""
        return self._without(text[:MOST_CHARS])

    def redact_answer(self, text: str) -> str:
        """`text` with the whole key replaced: answers are long, many, and cut by nobody."""
        return self._without(text) if any(middle in text for middle in self._middles) else text

    def _without(self, text: str) -> str:
        found = [span for piece, spelling in self._pieces if piece in text for span in _spans(text, piece, spelling)]
        kept: list[str] = []
        end = 0
        for start, stop in sorted(found):
            if start > end or not kept:
                kept += [text[end:start], "[key]"]
            end = max(end, stop)
        return "".join((*kept, text[end:])) if found else text


def _in_json(text: str, *, signs: str, form: str) -> str:
    """The text in JSON that is safe in HTML: Go escapes three of these signs so, .NET five."""
    return "".join(f"\\u{ord(char):{form}}" if char in signs else char for char in text)


_ESCAPES: tuple[Callable[[str], str], ...] = (
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").replace("%2F", "/"),
    lambda text: re.sub("%[0-9A-F]{2}", lambda found: found[0].lower(), quote(text, safe="")),
    quote_plus,
    lambda text: "".join(f"%{byte:02X}" for byte in text.encode()),
    lambda text: "".join(f"%{byte:02x}" for byte in text.encode()),
    html.escape,
    lambda text: "".join(f"&#{byte};" for byte in text.encode()),
    lambda text: "".join(f"&#x{byte:x};" for byte in text.encode()),
    lambda text: "".join(f"&#x{byte:X};" for byte in text.encode()),
    lambda text: orjson.dumps(text).decode()[1:-1],
    lambda text: text.replace("/", "\\/"),
    lambda text: "".join(f"\\u{ord(char):04x}" for char in text),
    *(partial(_in_json, signs=signs, form=form) for signs in ("<>&", "<>&'+", "<>&'+=/") for form in ("04x", "04X")),
)


def _spellings(secret: str) -> tuple[str, ...]:
    """The key as it is, and escaped for URLs, HTML and JSON, once or twice, in hex and base64 (at each of three
    offsets)."""
    raw = secret.encode()
    once = list(dict.fromkeys(escape(secret) for escape in _ESCAPES))
    found = [
        secret,
        *once,
        *(escape(each) for each in once for escape in _ESCAPES),  # by a proxy, what a service had escaped already
        raw.hex(),
        raw.hex().upper(),
        secret[::-1],
    ]
    for offset in range(3):
        # Characters that the bytes before and after share are not the key's alone.
        coded = base64.b64encode(b"\0" * offset + raw).decode().rstrip("=")
        inner = coded[(0, 2, 3)[offset] : len(coded) - 1]
        found += [inner, inner.replace("+", "-").replace("/", "_")]
    return tuple(sorted(dict.fromkeys(found), key=len, reverse=True))


def _spans(text: str, piece: str, spelling: str) -> Iterator[tuple[int, int]]:
    """Where `text` holds a part of `spelling` around `piece` that is long enough to be the key's."""
    at, begin = text.find(piece), spelling.find(piece)
    while at >= 0:
        left, right = 0, len(piece)
        while left < min(at, begin) and text[at - left - 1] == spelling[begin - left - 1]:
            left += 1
        while at + right < len(text) and begin + right < len(spelling) and text[at + right] == spelling[begin + right]:
            right += 1
        if left + right >= PART_CHARS:
            yield at - left, at + right
        at = text.find(piece, at + 1)
