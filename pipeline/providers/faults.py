"""The error that a body holds, in whatever shape. Pure, and total: any JSON will do.

Understood, whichever the dialect and the status: `{"status": "error", "message" | "messege"}` (ModelsLab),
`{"error": {"message", "type", "code", "param"}}` (OpenAI), `{"error": {"code": 502, "metadata"}}` (OpenRouter),
`{"type": "error", "error": {"type"}}` (Anthropic), `{"error": "words"}` (Ollama, TGI), `{"object": "error"}` and
`{"detail"}` (vLLM, Mistral, FastAPI), `{"error": {"status", "details"}}` (Google), each also in a list of one
(Gemini), in a choice (OpenRouter) and as JSON inside the message (proxies); `{"code", "msg"}` (DashScope and others in
China), `{"error_code", "error_msg"}` (Qianfan), `{"base_resp": {"status_code", "status_msg"}}` (MiniMax).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from html import unescape
from typing import Any

import orjson
from docreduce.providers.dialect import HttpResponse, listing, mapping, word
from docreduce.providers.stream import Events
from docreduce.values.unicode import well_formed

__all__ = ["SHOWN_HEADERS", "Fault", "clean", "find_fault", "parse", "request_id", "stated_fault"]

MOST_MESSAGE_CHARS = 500
MOST_SEARCHED_CHARS = 4000
_TERMS = ("code", "type", "status", "reason", "error_type", "error_code")
_SPOKEN = ("message", "detail", "msg", "error_msg")
_HOLDERS = ("error", "message", "raw", "metadata", "detail", "innererror", "inner_error", "cause")
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])|(?<=[a-z])\.(?=[A-Z])")
"""InvalidApiKey and Throttling.RateQuota are invalid_api_key and throttling_rate_quota."""
_TITLE = re.compile(r"<title[^>]*>([^<]{1,200})</title>", re.IGNORECASE)
_ECHO_CHARS = 40
_DEPTH = 4
"""Errors that wrap errors: a proxy's around a router's around a service's."""


_ID_HEADERS = ("x-request-id", "request-id", "apim-request-id", "x-generation-id", "cf-ray")
SHOWN_HEADERS = (*_ID_HEADERS, "location", "content-type", "content-encoding")
"""Headers that can be read in a message or a table."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """An error as a body states it. `terms`: values of its code and type fields, in lower case, the outermost first;
    `code`: an HTTP status among them; `param`: what it is about; `nested`: inside `error`, the shape that comes after
    generation began; `page`: nothing that an API says: no words at all, a page for people (with its `title`), a
    proxy's line."""

    message: str
    terms: tuple[str, ...] = ()
    code: int | None = None
    param: str = ""
    body: Mapping[str, Any] = field(default_factory=dict)
    nested: bool = False
    processing: bool = False
    page: bool = False
    title: str = ""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """What a router adds of the service behind it."""
        return mapping(mapping(self.body.get("error")).get("metadata"))


def parse(body: bytes) -> Any:
    """The JSON in `body`, None if there is none. What others write and the standard refuses is read: a lone surrogate
    escape as U+FFFD, NaN and Infinity as null, a byte order mark, bare line ends in strings."""
    try:
        return orjson.loads(body)
    except ValueError:
        pass  # slower and more lenient
    try:
        found = json.loads(body, strict=False, parse_constant=lambda _: None, parse_int=_number, parse_float=_number)
        return orjson.loads(well_formed(json.dumps(found, ensure_ascii=False)))
    except (ValueError, RecursionError):
        return None


def _number(digits: str) -> int | float | None:
    """The number; None for one that nobody can mean, which is to cost no more than itself."""
    value = float(digits)
    if not math.isfinite(value):
        return None
    return int(digits) if digits.lstrip("-").isdigit() and abs(value) < 2**63 else value


def find_fault(body: object, asked: str = "") -> Fault | None:
    """The error in a body's JSON, None if it holds none. `asked`: the text of the request, which an error may echo."""
    if isinstance(body, list):
        return next((fault for part in body[:1] if isinstance(part, dict) and (fault := find_fault(part, asked))), None)
    if not isinstance(body, dict):
        return None
    error = body.get("error") or next((mapping(c).get("error") for c in listing(body.get("choices"))[:1]), None)
    error = error or next(iter(listing(body.get("errors"))), None)
    outcome = mapping(body.get("base_resp"))
    error = error or (outcome if outcome.get("status_code") and not body.get("choices") else None)
    status = body.get("status")
    status = status.lower() if isinstance(status, str) else ""
    bare = any(isinstance(body.get(name), str) for name in _SPOKEN) and not {"choices", "content"} & body.keys()
    if not (error or status in {"error", "failed", "processing"} or body.get("object") == "error" or bare):
        return None
    return _read(body if body.get("error") else {**body, "error": error} if error else body, status, asked)


def stated_fault(response: HttpResponse, asked: str = "") -> Fault:
    """The error of a response whose status says that it is one: its own words, FastAPI's `detail`, plain text."""
    body = response.body
    if body.startswith((b"event:", b"data:")):
        events = Events()
        body = next(iter(events.feed(body) + events.rest()), b"")
    found = parse(body)
    if fault := find_fault(found, asked):
        return fault
    if isinstance(found, list):
        found = next(iter(found), None)
    if isinstance(found, dict):
        return _read(found, "", asked)
    text = response.body[:MOST_SEARCHED_CHARS].decode("utf-8", "replace").strip()
    kind = response.headers.get("content-type", "")
    if not text or text.startswith("<") or "text/html" in kind:
        title = _TITLE.search(text)
        return Fault(message="", page=True, title=clean(unescape(title[1])) if title else "")
    return Fault(message=text if found is None else _text(found), page=found is None)


def _read(body: Mapping[str, Any], status: str, asked: str) -> Fault:
    layers = _layers(body, asked)
    terms = [
        spelling
        for layer in layers
        for name in _TERMS
        if isinstance(term := layer.get(name), str) and term and not term.isdecimal()
        for spelling in (term.lower(), _HUMP.sub("_", term).lower())
    ]
    terms += [reason.lower() for layer in layers for reason in _reasons(layer)]
    terms += ["failed_generation" for layer in layers if "failed_generation" in layer]
    codes = (_status(layer.get(name)) for layer in layers for name in ("code", "status_code", "status"))
    nested = isinstance(body.get("error"), dict)
    params = (layer.get("param") or _location(layer) for layer in layers)
    return Fault(
        message="; ".join(dict.fromkeys(words for layer in layers if (words := _said(layer)))),
        terms=tuple(dict.fromkeys(terms)),
        code=next((code for code in codes if code is not None), None),
        param=next((param for param in params if isinstance(param, str) and param), ""),
        body=body,
        nested=nested,
        processing=status == "processing" and not nested,
    )


def _layers(body: Mapping[str, Any], asked: str) -> list[Mapping[str, Any]]:
    """`body` and the errors inside it, also those that stand as JSON in a message or in a router's `raw`."""
    layers, found = [body], body
    for _ in range(_DEPTH):
        inner: Mapping[str, Any] = next((part for name in _HOLDERS if (part := _inner(found.get(name), asked))), {})
        if not inner:
            break
        layers.append(inner)
        found = inner
    return layers


def _inner(value: object, asked: str = "") -> Mapping[str, Any]:
    """The JSON object that `value` is, or that its text ends in; none that comes from the request itself."""
    if isinstance(value, dict):
        return value
    if not isinstance(value, str) or "{" not in value[:MOST_SEARCHED_CHARS]:
        return {}
    text = value[value.index("{") :]
    if text[:_ECHO_CHARS] in asked:
        return {}
    try:
        return mapping(json.JSONDecoder().raw_decode(well_formed(text))[0])  # words may follow it
    except (ValueError, RecursionError):
        return {}


def _said(layer: Mapping[str, Any]) -> str:
    """Words of one layer."""
    names = ("message", "messege", "detail", "raw", "error_description", "msg", "error_msg", "status_msg")
    said = next((layer[name] for name in names if layer.get(name) and not _inner(layer[name])), None)
    error = layer.get("error")
    return _text(said if said is not None else error if isinstance(error, str) else None)


def _reasons(layer: Mapping[str, Any]) -> list[str]:
    """Google's reasons and the ids of the quotas that were used up."""
    found = []
    for detail in map(mapping, listing(layer.get("details"))):
        found += [detail.get("reason"), *(mapping(v).get("quotaId") for v in listing(detail.get("violations")))]
    return [reason for reason in found if isinstance(reason, str) and reason]


def _location(layer: Mapping[str, Any]) -> str:
    """What the first of FastAPI's validation errors is about; Mistral puts them in the message too."""
    details = listing(layer.get("detail")) or listing(layer.get("message"))
    place = listing(mapping(next(iter(details), None)).get("loc"))
    return ".".join(str(part) for part in place if part != "body")


def _status(code: object) -> int | None:
    """An HTTP status in the body's own `code`: OpenRouter's number, or the same in digits."""
    if isinstance(code, str) and len(code) == 3 and code.isascii() and code.isdecimal():
        code = int(code)
    return code if isinstance(code, int) and not isinstance(code, bool) and 400 <= code < 600 else None


def _text(value: object) -> str:
    """Words in `value`; lists and objects (validation errors) as JSON."""
    return value if isinstance(value, str) else "" if value is None else orjson.dumps(value).decode()


def request_id(response: HttpResponse) -> str | None:
    """The id the service gave this request, for its support."""
    found = word(next((response.headers[name] for name in _ID_HEADERS if response.headers.get(name)), None))
    return clean(found)[:200] if found else None


def clean(message: str) -> str:
    """`message` on one line, without control, format and bidirectional characters, at most 500 characters."""
    message = message[:MOST_SEARCHED_CHARS]
    if not message.isprintable():
        message = "".join(char if char.isprintable() else " " for char in message)
    message = " ".join(message.split())
    return message if len(message) <= MOST_MESSAGE_CHARS else message[: MOST_MESSAGE_CHARS - 1] + "…"
