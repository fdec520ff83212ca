"""What the dialects share: the dialect itself, HTTP requests and responses as values, a call, JSON read warily."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.values import Message, Request, Usage
from docreduce.values.unicode import well_formed

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.draft import Draft
    from docreduce.providers.manner import Asking, Manner
    from docreduce.settings import StructuredOutput

__all__ = [
    "MOST_TOKENS",
    "SCHEMA_WORDS",
    "TOOL_NAME",
    "Call",
    "Dialect",
    "HttpRequest",
    "HttpResponse",
    "alternating",
    "dump",
    "listing",
    "mapping",
    "most_output",
    "token_count",
    "with_schema",
    "word",
]

TOOL_NAME = "record"
"""The one tool of a request that is asked in the form "tools"."""

SCHEMA_WORDS = (
    "Answer with the JSON object alone, no prose, no code fence. It must be valid against this JSON Schema:\n"
)
"""Before the schema, where it stands in the prompt."""

MOST_TOKENS = 10_000_000
"""More tokens than any model's window holds (Llama 4 Scout's, the largest known): a count past this is nonsense."""
_MOST_DIGITS = 31
MOST_STATED = 10**30
"""So much nonsense is told as it was stated; any more would burst what shows it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpRequest:
    """A POST below the base URL, or a GET where there is no body. Both may hold the key, so repr shows neither.

    `keys` are the names at the top of the body: a refusal can be about one of them; `form` is the form of structured
    output that the body asks for, None where it asks for text."""

    path: str
    headers: Mapping[str, str] = field(repr=False)
    body: bytes = field(repr=False)
    keys: frozenset[str] = frozenset()
    form: StructuredOutput | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpResponse:
    """A whole response. Header names are lower case; `received_at` is wall-clock seconds since the epoch."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    received_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request as it was sent: whom it asks, in which manner, and the route's state, which a refusal changes.

    `redact` takes the key out of a text."""

    request: Request
    route: Route
    manner: Manner
    asking: Asking
    sent: HttpRequest
    redact: Callable[[str], str] = str

    @property
    def limit(self) -> int:
        """Tokens that the answer may have."""
        return most_output(self.route, self.manner)

    @property
    def asked(self) -> str:
        """All text of the request, which an error may echo."""
        return "\n".join(message.content for message in self.request.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dialect:
    """One service's language. Pure: nothing here waits, sends or knows the time.

    `key_env` is the variable that holds the key where the job names none; `encode(request, route, manner, key)` gives
    the POST; `read(body, draft)` takes a whole answer's JSON and `read_event(event, draft)` one event's; `usage` is
    None where the tokens were not stated; `headers(key)` authenticates a GET of `models_path`; `count` is the POST
    that counts a request's tokens, None where the service has none. `parameters` are the sampling parameters it has.
    `enforces`: hosts known to keep to a schema strictly. `tiers`: a request can name its service tier."""

    name: str
    base_url: str
    key_env: str
    chat_path: str
    models_path: str
    parameters: frozenset[str]
    encode: Callable[[Request, Route, Manner, str], HttpRequest]
    read: Callable[[Mapping[str, Any], Draft], None]
    read_event: Callable[[Mapping[str, Any], Draft], None]
    usage: Callable[[Mapping[str, Any]], Usage | None]
    headers: Callable[[str], dict[str, str]]
    count: Callable[[Request, Route, Manner, str], HttpRequest] | None = None
    enforces: tuple[str, ...] = ()
    top_temperature: float = 2.0
    tiers: bool = False


def most_output(route: Route, manner: Manner) -> int:
    """Tokens of an answer to ask for: what the job says, or less where the model gives less."""
    return min(route.max_output_tokens, manner.most_output or route.max_output_tokens)


def dump(body: Mapping[str, Any]) -> bytes:
    """`body` as JSON in UTF-8. Lone surrogates, which UTF-8 cannot say, become U+FFFD."""
    try:
        return orjson.dumps(body)
    except TypeError:
        return orjson.dumps(well_formed(body))


def with_schema(messages: Sequence[Message], schema: str | None) -> list[dict[str, str]]:
    """`messages` as turns, the schema's words at the end of the (first) system message where one is given."""
    turns = [{"role": message.role, "content": message.content} for message in messages]
    if schema is None:
        return turns
    system = next((turn for turn in turns if turn["role"] == "system"), None)
    if system is None:
        system = {"role": "system", "content": ""}
        turns.insert(0, system)
    system["content"] = "\n\n".join(part for part in (system["content"], SCHEMA_WORDS + schema) if part)
    return turns


def alternating(turns: Sequence[Mapping[str, str]]) -> list[dict[str, str]]:
    """`turns` of users and assistants by turns, what the system says at the head of the first user's."""
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"])
    folded = [{"role": "user", "content": system}] if system else []
    for turn in turns:
        if turn["role"] == "system":
            continue
        if folded and folded[-1]["role"] == turn["role"]:
            folded[-1]["content"] += "\n\n" + turn["content"]
        else:
            folded.append(dict(turn))
    return folded


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
    """`value` as a count of tokens, None where it is none: negative, no number (digits are one: protocol buffers write
    their int64 so), not whole. Past `MOST_STATED` all are alike."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) <= _MOST_DIGITS:
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        return None
    return min(value, MOST_STATED)
