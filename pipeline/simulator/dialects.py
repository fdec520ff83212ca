"""The three dialects on the wire: what a request asks, and how answers, errors and rate headers are written."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import formatdate
from typing import Any, Literal

import orjson
from docreduce.simulator.account import Bucket
from docreduce.simulator.settings import Hint, Service, Structured
from docreduce.values import Message

__all__ = [
    "Ask",
    "Said",
    "answer_body",
    "error_body",
    "parse_ask",
    "rate_headers",
    "stream_events",
    "wait_hint",
]

ANTHROPIC_ERRORS = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "content_filter": "refusal"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """One request, whatever its dialect. `schema` is the answer's JSON Schema, in its own field (`structured` says
    which) or quoted in the system prompt; `tool` names the tool to call. `keeps`: what of the input is to be
    kept in a cache: all up to its last breakpoint; with OpenAI's form, where none is set, all of it. `tier`: the
    service tier that
    is asked for."""

    service: Service
    model: str
    messages: tuple[Message, ...]
    max_output_tokens: int
    stream: bool = False
    structured: Structured | None = None
    schema: Mapping[str, Any] | None = None
    tool: str | None = None
    keeps: str | None = None
    tier: str | None = None

    @property
    def text(self) -> str:
        """The last user message."""
        return next((m.content for m in reversed(self.messages) if m.role == "user"), "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """An answer with its bill. `finish` in OpenAI's terms."""

    text: str
    finish: str
    input_tokens: int
    output_tokens: int
    cached_tokens: int = 0
    written_tokens: int = 0
    reasoning_tokens: int = 0


def _content(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "".join(block.get("text", "") for block in value or () if isinstance(block, dict))


def parse_ask(service: Service, body: Mapping[str, Any]) -> Ask:
    """What the request asks. Raises KeyError, TypeError or AttributeError where it is no such request."""
    messages = [Message(m["role"], _content(m["content"])) for m in body["messages"]]
    if body.get("system"):
        messages.insert(0, Message("system", _content(body["system"])))
    structured: Structured | None = None
    schema = tool = None
    wanted = body.get("response_format") or {}
    if body.get("tools") and body.get("tool_choice") not in ("none", {"type": "none"}):
        structured, first = "tools", body["tools"][0]
        described = first.get("function", first)
        tool, schema = described["name"], described.get("parameters", described.get("input_schema"))
    elif wanted.get("type") == "json_schema":
        structured, schema = "json_schema", wanted["json_schema"]["schema"]
    else:
        structured = "json_object" if wanted.get("type") == "json_object" else None
        schema = _schema_within("\n".join(m.content for m in messages if m.role == "system"))
    return Ask(
        service=service,
        model=str(body.get("model_id") or body["model"]),
        messages=tuple(messages),
        max_output_tokens=int(body.get("max_completion_tokens") or body.get("max_tokens") or 1000),
        stream=bool(body.get("stream")),
        structured=structured,
        schema=schema,
        tool=tool,
        keeps=_kept(service, body, messages),
        tier=body.get("service_tier"),
    )


def _kept(service: Service, body: Mapping[str, Any], messages: list[Message]) -> str | None:
    """The input up to its last breakpoint, in the order tools, system, messages; None where nothing is kept."""
    tools = body.get("tools") or ()
    parts = [(json.dumps(tool, sort_keys=True), "cache_control" in tool) for tool in tools]
    for content in (body.get("system"), *(m["content"] for m in body["messages"])):
        for block in content if isinstance(content, list) else [content] if content else []:
            marked = isinstance(block, dict) and bool({"cache_control", "prompt_cache_breakpoint"} & block.keys())
            parts.append((block["text"] if isinstance(block, dict) else block, marked))
    last = max((at for at, (_, marked) in enumerate(parts) if marked), default=None)
    explicit = service == "anthropic" or (body.get("prompt_cache_options") or {}).get("mode") == "explicit"
    if last is None and explicit:
        return None
    return "\n".join(text for text, _ in parts[: None if last is None or not explicit else last + 1])


def _schema_within(prompt: str) -> Mapping[str, Any] | None:
    """The JSON Schema of an object that a prompt quotes, None if it quotes none."""
    at = prompt.find("{") if '"properties"' in prompt else -1
    while at >= 0:
        try:
            value, _ = json.JSONDecoder().raw_decode(prompt, at)
        except ValueError:
            value = None
        if isinstance(value, dict) and "properties" in value:
            return value
        at = prompt.find("{", at + 1)
    return None


def _chat_usage(said: Said) -> dict[str, Any]:
    usage: dict[str, Any] = {
        "prompt_tokens": said.input_tokens,
        "completion_tokens": said.output_tokens,
        "total_tokens": said.input_tokens + said.output_tokens,
    }
    if said.cached_tokens or said.written_tokens:
        details = {"cached_tokens": said.cached_tokens, "cache_write_tokens": said.written_tokens}
        usage["prompt_tokens_details"] = {name: number for name, number in details.items() if number}
    if said.reasoning_tokens:
        usage["completion_tokens_details"] = {"reasoning_tokens": said.reasoning_tokens}
    return usage


def _messages_usage(said: Said) -> dict[str, int]:
    # Anthropic's input_tokens leave out what came from the cache.
    fresh = said.input_tokens - said.cached_tokens - said.written_tokens
    usage = {"input_tokens": fresh, "output_tokens": said.output_tokens}
    if said.written_tokens:
        usage["cache_creation_input_tokens"] = said.written_tokens
    return usage | ({"cache_read_input_tokens": said.cached_tokens} if said.cached_tokens else {})


def answer_body(ask: Ask, said: Said, number: int, *, with_usage: bool = True) -> dict[str, Any]:
    """The whole answer in the request's dialect; `number` makes its id."""
    if ask.service == "anthropic":
        block: dict[str, Any] = {"type": "text", "text": said.text}
        if ask.tool:
            block = _tool_use(ask, number, _object(said.text))
        body: dict[str, Any] = {
            "id": f"msg_{number}",
            "type": "message",
            "role": "assistant",
            "model": ask.model,
            "content": [block] if said.text else [],
            "stop_reason": STOP_REASONS[said.finish],
            "stop_sequence": None,
            "usage": _messages_usage(said),
        }
    else:
        message: dict[str, Any] = {"role": "assistant", "content": said.text}
        if ask.tool and said.text:
            call = {"name": ask.tool, "arguments": said.text}
            message |= {"content": None, "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}]}
        body = {
            "id": f"gen-{number}",
            "object": "chat.completion",
            "created": int(time.time()),
            "model": ask.model,
            "choices": [{"index": 0, "message": message, "finish_reason": said.finish}],
            "usage": _chat_usage(said),
        }
        if ask.tier:
            body["service_tier"] = ask.tier
    if not with_usage:
        del body["usage"]
    return body


def _tool_use(ask: Ask, number: int, given: dict[str, Any]) -> dict[str, Any]:
    return {"type": "tool_use", "id": f"toolu_{number}", "name": ask.tool, "input": given}


def _object(text: str) -> dict[str, Any]:
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        value = None
    return value if isinstance(value, dict) else {"raw": text}  # a tool's input is an object, whatever was said


def stream_events(ask: Ask, said: Said, number: int, *, with_usage: bool = True) -> Iterator[bytes]:
    """The answer as server-sent events, its text in about eight of them; usage stands in the last."""
    size = max(1, math.ceil(len(said.text) / 8))
    parts = [said.text[i : i + size] for i in range(0, len(said.text), size)]
    if ask.service == "anthropic":
        yield from _messages_events(ask, said, number, parts, with_usage)
        return
    frame = {"id": f"gen-{number}", "object": "chat.completion.chunk", "created": int(time.time()), "model": ask.model}

    def event(delta: dict[str, Any], finish: str | None = None) -> bytes:
        return _event(frame | {"choices": [{"index": 0, "delta": delta, "finish_reason": finish}]})

    yield event({"role": "assistant", "content": ""})
    for n, part in enumerate(parts):
        if ask.tool:
            head = {"id": f"call_{number}", "type": "function"} if n == 0 else {}
            function = ({"name": ask.tool} if n == 0 else {}) | {"arguments": part}
            yield event({"tool_calls": [{"index": 0, **head, "function": function}]})
        else:
            yield event({"content": part})
    yield event({}, said.finish)
    if with_usage:
        yield _event(frame | {"choices": [], "usage": _chat_usage(said)})
    yield b"data: [DONE]\n\n"


def _messages_events(ask: Ask, said: Said, number: int, parts: list[str], with_usage: bool) -> Iterator[bytes]:
    def event(kind: str, **values: Any) -> bytes:
        return f"event: {kind}\n".encode() + _event({"type": kind, **values})

    opening = answer_body(ask, said, number) | {"content": [], "stop_reason": None}
    opening["usage"] = _messages_usage(said) | {"output_tokens": 1} if with_usage else {}
    yield event("message_start", message=opening)
    block = _tool_use(ask, number, {}) if ask.tool else {"type": "text", "text": ""}
    yield event("content_block_start", index=0, content_block=block)
    for part in parts:
        delta = {"type": "input_json_delta", "partial_json": part} if ask.tool else {"type": "text_delta", "text": part}
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    usage = {"usage": {"output_tokens": said.output_tokens}} if with_usage else {}
    yield event("message_delta", delta={"stop_reason": STOP_REASONS[said.finish], "stop_sequence": None}, **usage)
    yield event("message_stop")


def _event(value: dict[str, Any]) -> bytes:
    return b"data: " + orjson.dumps(value) + b"\n\n"


Shape = Literal["openai", "anthropic", "openrouter", "message", "messege"]


def error_body(shape: Shape, status: int, message: str, code: str | None = None) -> dict[str, Any]:
    """An error in one of the shapes these services use. `code` is OpenAI's word for it."""
    if shape == "anthropic":
        return {"type": "error", "error": {"type": ANTHROPIC_ERRORS.get(status, "api_error"), "message": message}}
    if shape == "openrouter":
        return {"error": {"code": status, "message": message, "metadata": {"provider_name": "simulator"}}}
    if shape == "openai":
        kind = "server_error" if status >= 500 else "invalid_request_error" if status == 400 else code
        return {"error": {"message": message, "type": kind, "param": None, "code": code}}
    return {"status": "error", shape: message}


def wait_hint(hint: Hint, wait_s: float) -> tuple[dict[str, str], dict[str, int]]:
    """Headers and body fields that say how long to wait; whole seconds are rounded up."""
    whole = math.ceil(wait_s)
    headers = {
        "seconds": {"retry-after": str(whole)},
        "fractional": {"retry-after": f"{wait_s:.3f}"},
        "date": {"retry-after": formatdate(time.time() + whole + 1, usegmt=True)},
        "ms": {"retry-after-ms": str(math.ceil(wait_s * 1000))},
    }
    return headers.get(hint, {}), {"retry_after": whole} if hint == "body" else {}


def _duration(seconds: float) -> str:
    if seconds < 1:
        return f"{math.ceil(seconds * 1000)}ms"
    minutes, rest = divmod(math.ceil(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{seconds:.3f}s"


def rate_headers(service: Service, buckets: Mapping[str, Bucket]) -> dict[str, str]:
    """What the account's buckets of requests and tokens hold, in OpenAI's or Anthropic's headers."""
    headers: dict[str, str] = {}
    for name, bucket in buckets.items():
        reset = _duration(bucket.full_s)
        if service == "anthropic":
            reset = datetime.fromtimestamp(time.time() + bucket.full_s, UTC).isoformat().replace("+00:00", "Z")
        told = {"limit": str(int(bucket.per_minute)), "remaining": str(int(bucket.level)), "reset": reset}
        pattern = "anthropic-ratelimit-{name}-{key}" if service == "anthropic" else "x-ratelimit-{key}-{name}"
        headers |= {pattern.format(name=name, key=key): value for key, value in told.items()}
    return headers
