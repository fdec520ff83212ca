"""OpenAI's chat completions, as a hundred other services speak them too.

Source: the API reference of POST /chat/completions.
"""

from __future__ import annotations

import re
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

__all__ = ["DIALECT", "bearer", "body_of"]

_REASONING = re.compile(r"(?:^|[/-])(?:o\d|gpt-5)(?![a-z0-9])", re.IGNORECASE)
"""Models that refuse max_tokens and any temperature but their own."""


def _encode(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a chat completion."""
    body = {"model": request.model, **body_of(request, stream=settings.stream)}
    if _REASONING.search(request.model):
        body["max_completion_tokens"] = body.pop("max_tokens")
        del body["temperature"], body["top_p"]
    return HttpRequest(path="/chat/completions", headers=bearer(key), body=dump(body))


def body_of(request: Request, *, stream: bool) -> dict[str, Any]:
    """All of the body but the model's name."""
    body: dict[str, Any] = {
        "messages": [{"role": message.role, "content": message.content} for message in request.messages],
        "max_tokens": request.max_output_tokens,
        "temperature": request.temperature,
        "top_p": request.top_p,
    }
    schema = orjson.Fragment(request.schema or "{}")
    if request.structured_output == "tools":
        function = {"name": TOOL_NAME, "description": "Record the answer.", "parameters": schema}
        body["tools"] = [{"type": "function", "function": function}]
        body["tool_choice"] = {"type": "function", "function": {"name": TOOL_NAME}}
    elif request.structured_output == "json_schema":
        body["response_format"] = {"type": "json_schema", "json_schema": {"name": TOOL_NAME, "schema": schema}}
    elif request.structured_output == "json_object":
        body["response_format"] = {"type": "json_object"}
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def bearer(key: str) -> dict[str, str]:
    """The header that authenticates; none without a key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def _read(body: Mapping[str, Any], draft: Draft) -> None:
    """Add a whole answer (`message`) or a stream's event (`delta`) to `draft`."""
    draft.id = word(body.get("id")) or draft.id
    draft.add_usage(body.get("usage"))
    for choice in map(mapping, listing(body.get("choices"))[:1]):
        draft.finish = word(choice.get("finish_reason")) or draft.finish
        message = choice.get("message", choice.get("delta"))
        if not isinstance(message, dict):
            continue
        draft.found = True
        draft.refusal = word(message.get("refusal")) or draft.refusal
        draft.add(message.get("content"))
        for block in listing(message.get("content")):
            draft.add(block if isinstance(block, str) else mapping(block).get("text"))
        for position, call in enumerate(map(mapping, listing(message.get("tool_calls")))):
            index = call.get("index")
            arguments = mapping(call.get("function")).get("arguments")
            draft.add_call(index if isinstance(index, int) else position, arguments)
        draft.add_call(0, mapping(message.get("function_call")).get("arguments"))  # the form before tools


def _usage(stated: Mapping[str, Any]) -> Usage | None:
    """Tokens as stated; cached and reasoning are parts of input and output already."""
    taken, given = token_count(stated.get("prompt_tokens")), token_count(stated.get("completion_tokens"))
    if taken is None or given is None:
        return None
    cached = token_count(mapping(stated.get("prompt_tokens_details")).get("cached_tokens")) or 0
    reasoning = token_count(mapping(stated.get("completion_tokens_details")).get("reasoning_tokens")) or 0
    return Usage(
        input_tokens=taken,
        output_tokens=given,
        cached_input_tokens=min(cached, taken),
        reasoning_tokens=min(reasoning, given),
    )


DIALECT = Dialect(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_env="OPENAI_API_KEY",
    encode=_encode,
    read=_read,
    read_event=_read,
    usage=_usage,
    headers=bearer,
    models_path="/models",
)
