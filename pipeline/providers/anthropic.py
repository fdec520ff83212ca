"""Anthropic's messages, with count_tokens and models.

Source: the API reference of POST /v1/messages, version 2023-06-01.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import orjson
from docreduce.providers.dialect import (
    TOOL_NAME,
    Dialect,
    HttpRequest,
    alternating,
    dump,
    listing,
    mapping,
    most_output,
    with_schema,
    word,
)
from docreduce.providers.schemas import for_anthropic
from docreduce.providers.usage import anthropic_usage
from docreduce.values import Request

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.draft import Draft
    from docreduce.providers.manner import Manner
    from docreduce.settings import StructuredOutput

__all__ = ["DIALECT"]

_COUNTED = ("model", "system", "messages", "tools", "tool_choice")


def _encode(request: Request, route: Route, manner: Manner, key: str) -> HttpRequest:
    """The POST of a message."""
    body, form = _body(request, route, manner)
    keys = frozenset(body) | ({"cache_control"} if route.caches(request) else set())
    return HttpRequest(path=DIALECT.chat_path, headers=_headers(key), body=dump(body), keys=keys, form=form)


def _count(request: Request, route: Route, manner: Manner, key: str) -> HttpRequest:
    """The POST that counts the input tokens of `request`."""
    body, _ = _body(request, route, manner)
    counted = {name: body[name] for name in _COUNTED if name in body}
    return HttpRequest(path="/v1/messages/count_tokens", headers=_headers(key), body=dump(counted))


def _body(request: Request, route: Route, manner: Manner) -> tuple[dict[str, Any], StructuredOutput | None]:
    """All of the body, and the form it asks for. System messages stand apart; json_object has no counterpart here: the
    prompt asks for it.

    A schema that this request's form cannot say goes by the next one that can."""
    forms = manner.forms if request.schema is not None else ()
    schema = request.schema or "{}"
    strict = for_anthropic(schema) if forms and forms[0] == "json_schema" else None
    form = next((form for form in forms if form != "json_schema" or strict), None)
    turns = with_schema(request.messages, schema if form in ("prompt", "json_object") else None)
    system = "\n\n".join(turn["content"] for turn in turns if turn["role"] == "system" and turn["content"])
    sampling = {name: value for name, value in route.sampling.stated().items() if name in DIALECT.parameters}
    if "temperature" in sampling:
        sampling["temperature"] = min(sampling["temperature"], DIALECT.top_temperature)
    body: dict[str, Any] = {
        "model": route.model,
        "max_tokens": most_output(route, manner),
        **({"system": system} if system and not manner.folded else {}),
        "messages": alternating(turns) if manner.folded else [turn for turn in turns if turn["role"] != "system"],
        **sampling,
    }
    if form == "tools":
        tool = {"name": TOOL_NAME, "description": "Record the answer.", "input_schema": orjson.Fragment(schema)}
        body["tools"] = [tool]
        if manner.choice != "auto":
            named = {"type": "tool", "name": TOOL_NAME} if manner.choice == "named" else {"type": "any"}
            body["tool_choice"] = {**named, "disable_parallel_tool_use": True}
    elif form == "json_schema":
        body["output_config"] = {"format": {"type": "json_schema", "schema": strict}}
    if route.caches(request) and "cache_control" not in manner.without:
        _mark(body)
    if route.stream or manner.streamed:
        body["stream"] = True
    return {name: value for name, value in body.items() if name not in manner.without}, form


def _mark(body: dict[str, Any]) -> None:
    """A breakpoint at the end of what all requests share: tools, then the system's words. It holds for 5 minutes."""
    mark = {"cache_control": {"type": "ephemeral"}}
    if "system" in body:
        body["system"] = [{"type": "text", "text": body["system"], **mark}]
    elif "tools" in body:
        body["tools"] = [*body["tools"][:-1], {**body["tools"][-1], **mark}]


def _headers(key: str) -> dict[str, str]:
    """Version and key; no key header without a key."""
    version = {"anthropic-version": "2023-06-01"}
    return {**version, "x-api-key": key} if key else version


def _read(body: Mapping[str, Any], draft: Draft) -> None:
    """Add a whole message to `draft`. Thinking blocks are no part of the answer."""
    draft.id = word(body.get("id"))
    _end(body, draft)
    _spent(body.get("usage"), draft)
    draft.found = isinstance(body.get("content"), (list, str))
    draft.add(body.get("content"))
    for index, block in enumerate(map(mapping, listing(body.get("content")))):
        _block(block, index, draft)


def _read_event(event: Mapping[str, Any], draft: Draft) -> None:
    """Add one event of a stream to `draft`. Usage in `message_delta` is cumulative: the last one counts."""
    kind = event.get("type")
    if kind == "message_start":
        message = mapping(event.get("message"))
        draft.id, draft.found = word(message.get("id")), True
        _spent(message.get("usage"), draft)
    elif kind == "content_block_start":
        block = mapping(event.get("content_block"))
        if block.get("input") != {}:  # an empty object stands for arguments that are still to come
            _block(block, event.get("index"), draft)
    elif kind == "content_block_delta":
        delta = mapping(event.get("delta"))
        draft.found = True
        draft.add(delta.get("text"))
        draft.add_thought(delta.get("thinking"))
        draft.add_call(event.get("index"), delta.get("partial_json"))
    elif kind == "message_delta":
        _end(mapping(event.get("delta")), draft)
        _spent(event.get("usage"), draft)
    elif kind == "message_stop":
        draft.done = True


def _block(block: Mapping[str, Any], index: object, draft: Draft) -> None:
    if block.get("type") == "tool_use":
        draft.add_call(index, block.get("input"))
    elif block.get("type") == "text":
        draft.add(block.get("text"))
    elif block.get("type") == "thinking":
        draft.add_thought(block.get("thinking"))


def _end(stated: Mapping[str, Any], draft: Draft) -> None:
    draft.finish = word(stated.get("stop_reason")) or draft.finish
    details = mapping(stated.get("stop_details"))
    if draft.finish == "refusal":
        draft.add_refusal(details.get("explanation") or details.get("category"))


def _spent(usage: object, draft: Draft) -> None:
    draft.add_usage(usage)
    draft.tier = word(mapping(usage).get("service_tier")) or draft.tier


DIALECT = Dialect(
    name="anthropic",
    base_url="https://api.anthropic.com",
    key_env="ANTHROPIC_API_KEY",
    chat_path="/v1/messages",
    models_path="/v1/models?limit=1000",
    parameters=frozenset({"temperature", "top_p"}),
    encode=_encode,
    read=_read,
    read_event=_read_event,
    usage=anthropic_usage,
    headers=_headers,
    count=_count,
    enforces=("api.anthropic.com",),
    top_temperature=1.0,
)
