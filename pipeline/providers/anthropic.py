"""Anthropic's messages, with count_tokens and models.

Source: the API reference of POST /v1/messages, version 2023-06-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
from docreduce.config import ModelSettings
from docreduce.providers.dialect import (
    TOOL_NAME,
    Dialect,
    Draft,
    HttpRequest,
    dump,
    listing,
    mapping,
    token_count,
    word,
)
from docreduce.values import Request, Usage

__all__ = ["DIALECT"]


def _encode(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a message. top_p is left out: newer models refuse it beside a temperature."""
    body = _body(request, stream=settings.stream)
    return HttpRequest(path="/v1/messages", headers=_headers(key), body=dump(body))


def _encode_count(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST that counts the input tokens of `request`."""
    body = _body(request, stream=False)
    counted: dict[str, Any] = {
        name: body[name] for name in ("model", "system", "messages", "tools", "tool_choice") if name in body
    }
    return HttpRequest(path="/v1/messages/count_tokens", headers=_headers(key), body=dump(counted))


def _body(request: Request, *, stream: bool) -> dict[str, Any]:
    """All of the body. System messages stand apart; the temperature is at most 1."""
    turns = [{"role": m.role, "content": m.content} for m in request.messages if m.role != "system"]
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.max_output_tokens,
        "temperature": min(request.temperature, 1.0),
        "messages": turns,
    }
    if system := "\n\n".join(m.content for m in request.messages if m.role == "system" and m.content):
        body["system"] = system
    schema = orjson.Fragment(request.schema or '{"type":"object"}')
    if request.structured_output == "tools":
        body["tools"] = [{"name": TOOL_NAME, "description": "Record the answer.", "input_schema": schema}]
        body["tool_choice"] = {"type": "tool", "name": TOOL_NAME, "disable_parallel_tool_use": True}
    elif request.structured_output == "json_schema":
        body["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
    # json_object has no counterpart here: the prompt asks for it.
    if stream:
        body["stream"] = True
    return body


def _headers(key: str) -> dict[str, str]:
    """Version and key; no key header without a key."""
    version = {"anthropic-version": "2023-06-01"}
    return {**version, "x-api-key": key} if key else version


def _read(body: Mapping[str, Any], draft: Draft) -> None:
    """Add a whole message to `draft`. Thinking blocks are no part of the answer."""
    draft.id = word(body.get("id"))
    draft.finish = word(body.get("stop_reason"))
    draft.add_usage(body.get("usage"))
    draft.found = isinstance(body.get("content"), list)
    for index, block in enumerate(map(mapping, listing(body.get("content")))):
        if block.get("type") == "tool_use":
            draft.add_call(index, block.get("input"))
        elif block.get("type") == "text":
            draft.add(block.get("text"))


def _read_event(event: Mapping[str, Any], draft: Draft) -> None:
    """Add one event of a stream to `draft`. Usage in `message_delta` is cumulative: the last one counts."""
    kind = event.get("type")
    if kind == "message_start":
        message = mapping(event.get("message"))
        draft.id, draft.found = word(message.get("id")), True
        draft.add_usage(message.get("usage"))
    elif kind == "content_block_delta":
        delta = mapping(event.get("delta"))
        draft.found = True
        index = event.get("index")
        draft.add(delta.get("text"))
        draft.add_call(index if isinstance(index, int) else 0, delta.get("partial_json"))
    elif kind == "message_delta":
        draft.finish = word(mapping(event.get("delta")).get("stop_reason")) or draft.finish
        draft.add_usage(event.get("usage"))
    elif kind == "message_stop":
        draft.done = True


def _usage(stated: Mapping[str, Any]) -> Usage | None:
    """All input tokens: `input_tokens` leaves out what was written to and read from the cache."""
    fresh, given = token_count(stated.get("input_tokens")), token_count(stated.get("output_tokens"))
    if fresh is None or given is None:
        return None
    written = token_count(stated.get("cache_creation_input_tokens")) or 0
    cached = token_count(stated.get("cache_read_input_tokens")) or 0
    return Usage(input_tokens=fresh + written + cached, output_tokens=given, cached_input_tokens=cached)


DIALECT = Dialect(
    name="anthropic",
    base_url="https://api.anthropic.com",
    key_env="ANTHROPIC_API_KEY",
    encode=_encode,
    read=_read,
    read_event=_read_event,
    usage=_usage,
    headers=_headers,
    models_path="/v1/models?limit=1000",
    encode_count=_encode_count,
)
