"""What the dialects share: an HTTP request and response as values, the draft of an answer, the dialect itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from docreduce.config import ModelSettings
from docreduce.values import FinishReason, Request, Usage
from docreduce.values.unicode import well_formed

__all__ = [
    "FINISH",
    "TOOL_NAME",
    "Dialect",
    "Draft",
    "HttpRequest",
    "HttpResponse",
    "dump",
    "listing",
    "mapping",
    "token_count",
    "word",
]

TOOL_NAME = "record"
"""The one forced tool of a request whose `structured_output` is "tools"."""

FINISH: Mapping[str, FinishReason] = {
    # OpenAI
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
    "function_call": "tool_calls",
    "content_filter": "content_filter",
    "error": "error",
    # Anthropic
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",  # a turn that was to go on is no whole answer
    "refusal": "content_filter",
    # servers that pass the model's own words on
    "eos": "stop",
    "model_length": "length",
}
"""Why an answer ended, by any service's word for it: they mean the same wherever two have the same."""

MAX_TOKENS_SEEN = 2**53
"""A token count past this is nonsense and would not fit the ledger's columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A POST below the base URL, or a GET where there is no body. Both may hold the key, so repr shows neither."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A whole response. Header names are lower case; `received_at` is wall-clock seconds since the epoch."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float


@dataclass(slots=True, kw_only=True)
class Draft:
    """An answer while it is read, whole or event by event. `calls`: tool-call arguments by the call's index."""

    content: list[str] = field(default_factory=list)
    calls: dict[int, list[str]] = field(default_factory=dict)
    finish: str | None = None
    usage: dict[str, Any] = field(default_factory=dict)
    refusal: str | None = None
    id: str | None = None
    found: bool = False  # something in the shape of an answer was there
    done: bool = False  # the stream said so itself
    chars: int = 0  # of content and arguments together

    def add(self, text: object) -> None:
        """Add content; what is no string is none."""
        if isinstance(text, str):
            self.content.append(text)
            self.chars += len(text)

    def add_call(self, index: int, arguments: object) -> None:
        """Add to the arguments of a tool call: a piece of JSON text, or all of it parsed."""
        if isinstance(arguments, (dict, list)):
            arguments = orjson.dumps(arguments).decode()
        if isinstance(arguments, str):
            self.calls.setdefault(index, []).append(arguments)
            self.chars += len(arguments)

    def add_usage(self, stated: object) -> None:
        """Add what is stated of the usage; a later word counts."""
        self.usage.update({name: value for name, value in mapping(stated).items() if value is not None})

    @property
    def text(self) -> str:
        """The tool call's arguments where there is one, otherwise the content."""
        calls = ["".join(parts) for _, parts in sorted(self.calls.items())]
        if not any(calls):
            return "".join(self.content)
        return calls[0] if len(calls) == 1 else _joined(calls)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One service's language. Pure: nothing here waits, sends or knows the time.

    `key_env` is the variable that holds the key where the job names none; `encode(request, settings, key)` gives the
    POST; `read(body, draft)` takes a whole answer's JSON and `read_event(event, draft)` one event's; `usage` is None
    where the tokens were not stated; `headers(key)` authenticates a GET of `models_path`; `encode_count` is the POST
    that counts a request's tokens, None where the service has none."""

    name: str
    base_url: str
    key_env: str
    encode: Callable[[Request, ModelSettings, str], HttpRequest]
    read: Callable[[Mapping[str, Any], Draft], None]
    read_event: Callable[[Mapping[str, Any], Draft], None]
    usage: Callable[[Mapping[str, Any]], Usage | None]
    headers: Callable[[str], dict[str, str]]
    models_path: str
    encode_count: Callable[[Request, ModelSettings, str], HttpRequest] | None = None


def dump(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON in UTF-8. Lone surrogates, which UTF-8 cannot say, become U+FFFD."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return orjson.dumps(well_formed(body))


def mapping(value: object) -> Mapping[str, Any]:
    """`value` if it is a JSON object, otherwise an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: object) -> Sequence[Any]:
    """`value` if it is a JSON array, otherwise an empty one."""
    return value if isinstance(value, list) else ()


def word(value: object) -> str | None:
    """`value` if it is a string that is not empty, otherwise None."""
    return value if isinstance(value, str) and value else None


def token_count(value: object) -> int | None:
    """`value` as a count of tokens, None where it is none: negative, no number, not whole, absurd."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_TOKENS_SEEN:
        return None
    return value


def _joined(calls: Sequence[str]) -> str:
    """Several calls of the one tool as one: their `items` in order. Unreadable ones stay as they are, for repair."""
    items: list[Any] = []
    for call in calls:
        try:
            items.extend(orjson.loads(call)["items"])
        except (ValueError, TypeError, KeyError):
            return "\n".join(calls)
    return orjson.dumps({"items": items}).decode()
