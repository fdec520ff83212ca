"""What is asked. A request knows no model, no price, no sampling, no form of structured output: a route has those."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import orjson

__all__ = ["CACHED_FROM_TOKENS", "FRAME_TOKENS", "Message", "Request", "Stage"]

Stage: TypeAlias = Literal["map", "reduce", "repair", "resolve", "pass", "group"]

FRAME_TOKENS = 10
"""Tokens a message's role and delimiters cost; about what ERNIE 4.5's and OpenAI's chat frames take."""

CACHED_FROM_TOKENS = 1024
"""The shortest prefix that most models keep in a cache (OpenAI's all, Anthropic's Sonnet); a breakpoint after a shorter
one is ignored, and not billed."""


@dataclass(frozen=True, slots=True)
class Message:
    role: Literal["system", "user", "assistant"]
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One question to a model. The source text stands verbatim and alone in the last user message.

    `schema` is the JSON Schema of the answer as JSON text, None where the answer is plain text; it stands in no
    message: the wire puts it where a service takes it. `max_words` is the length that the prompt asks for; `salt` is
    set to ask the very same question again; `voice` names the model of a vote that is to answer.

    `stage`, `tokens` (our count of all messages and the schema, frames included), `chunk` and `serves` (which of its
    unit's documents it is about) say where it belongs: they are no part of what is asked, so that equal requests are
    paid once."""

    messages: tuple[Message, ...]
    schema: str | None = None
    max_words: int | None = None
    salt: str = ""
    voice: str = ""

    stage: Stage = field(default="map", compare=False)
    tokens: int = field(default=0, compare=False)
    chunk: int | None = field(default=None, compare=False)
    serves: Sequence[int] = field(default=(0,), compare=False)

    @property
    def prefix(self) -> str:
        """Digest of all that stands before the last message: what requests about different texts share."""
        said = orjson.dumps([[[m.role, m.content] for m in self.messages[:-1]], self.schema])
        return hashlib.sha256(said).hexdigest()[:16]

    @property
    def prefix_tokens(self) -> int:
        """Of `tokens`, those before the last message, by their share of the bytes."""
        before = sum(len(m.content.encode()) for m in self.messages[:-1]) + len((self.schema or "").encode())
        last = len(self.messages[-1].content.encode())
        return self.tokens * before // max(1, before + last)

    @property
    def key(self) -> str:
        """SHA-256 (hex) of the request's canonical JSON: with endpoint and model, an answer's identity."""
        asked = [[m.role, m.content] for m in self.messages]
        identity = orjson.dumps([asked, self.schema, self.max_words, self.salt, self.voice])
        return hashlib.sha256(identity).hexdigest()
