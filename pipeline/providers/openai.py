"""OpenAI's chat completions, as a hundred other services speak them too.

Source: the API reference of POST /chat/completions.
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
from docreduce.providers.draft import Draft, last_word
from docreduce.providers.schemas import for_openai
from docreduce.providers.usage import openai_usage
from docreduce.values import Request

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.manner import Manner

__all__ = ["DIALECT", "bearer", "body_of"]


def _encode(request: Request, route: Route, manner: Manner, key: str) -> HttpRequest:
    """The POST of a chat completion."""
    body = {"model": route.model, **body_of(request, route, manner)}
    form = manner.forms[0] if request.schema is not None else None
    return HttpRequest(path=DIALECT.chat_path, headers=bearer(key), body=dump(body), keys=frozenset(body), form=form)


def body_of(request: Request, route: Route, manner: Manner) -> dict[str, Any]:
    """All of the body but the model's name."""
    form = manner.forms[0] if request.schema is not None else None
    schema = request.schema or "{}"
    turns = with_schema(request.messages, schema if form in ("prompt", "json_object") else None)
    body: dict[str, Any] = {
        "messages": alternating(turns) if manner.folded else turns,
        manner.limit_key: most_output(route, manner),
        **route.sampling.stated(),
    }
    if form == "tools":
        function = {"name": TOOL_NAME, "description": "Record the answer.", "parameters": orjson.Fragment(schema)}
        body["tools"] = [{"type": "function", "function": function}]
        if manner.choice != "auto":
            named = {"type": "function", "function": {"name": TOOL_NAME}}
            body["tool_choice"] = named if manner.choice == "named" else "required"
    elif form == "json_schema":
        strict = for_openai(schema) if manner.strict else None
        shape = {"name": TOOL_NAME, "schema": strict or orjson.Fragment(schema)}
        body["response_format"] = {"type": "json_schema", "json_schema": shape | ({"strict": True} if strict else {})}
    elif form == "json_object":
        body["response_format"] = {"type": "json_object"}
    if route.writes_billed and "prompt_cache_options" not in manner.without:
        # Unasked, the newest models keep the last message too and bill that: every chunk is another one.
        body["prompt_cache_options"] = {"mode": "explicit"}
        if route.caches(request):
            body["prompt_cache_key"] = request.prefix
            body["messages"] = _marked(body["messages"])
    if route.service_tier:
        body["service_tier"] = route.service_tier
    if route.stream or manner.streamed:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    if "stream" in manner.without:
        body.pop("stream_options", None)
    return {name: value for name, value in body.items() if name not in manner.without}


def _marked(turns: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """`turns` with a breakpoint at the end of the system's words."""
    mark = {"prompt_cache_breakpoint": {"mode": "explicit"}}
    return [
        {**turn, "content": [{"type": "text", "text": turn["content"], **mark}]} if turn["role"] == "system" else turn
        for turn in turns
    ]


def bearer(key: str) -> dict[str, str]:
    """The header that authenticates; none without a key."""
    return {"authorization": f"Bearer {key}"} if key else {}


def _counts(body: Mapping[str, Any]) -> dict[str, Any]:
    """Ollama's own names, which stand in the body itself."""
    return {"prompt_tokens": body.get("prompt_eval_count"), "completion_tokens": body.get("eval_count")}


def _read(body: Mapping[str, Any], draft: Draft) -> None:
    """Add a whole answer (`message`) or a stream's event (`delta`) to `draft`."""
    draft.id = word(body.get("id")) or draft.id
    draft.tier = word(body.get("service_tier")) or draft.tier
    streamed = mapping(body.get("x_groq")).get("usage")  # in the last event of Groq's streams
    draft.add_usage(body.get("usage") or body.get("usageMetadata") or streamed or _counts(body))
    if blocked := word(mapping(body.get("promptFeedback")).get("blockReason")):  # Gemini, with no choice at all
        draft.found = True
        draft.add_refusal(f"the prompt was blocked: {blocked}")
    own = [body] if isinstance(body.get("message"), dict) else []  # Ollama's own form: its body is the choice
    for choice in map(mapping, (listing(body.get("choices")) or own)[:1]):
        if not draft.chosen(choice.get("index")):
            continue
        # native_finish_reason: OpenRouter
        said = last_word(word(choice.get("finish_reason")), word(choice.get("native_finish_reason")))
        said = said or word(choice.get("done_reason"))
        draft.finish = said or draft.finish
        draft.add_usage(choice.get("usage"))  # Moonshot's streams
        delta = mapping(choice.get("delta"))
        message = delta or choice.get("message", choice.get("delta"))
        if not isinstance(message, dict):
            continue
        if not delta and "message" in choice and "choices" in body:  # whole, and all that came before is in it
            draft.restart()
        draft.found = True
        draft.add_refusal(message.get("refusal"))
        draft.add_thought(message.get("reasoning"), message.get("reasoning_content"), message.get("thinking"))
        content = message.get("content")
        draft.add(content)
        if isinstance(content, dict) and not {"type", "text"} & content.keys():  # the JSON that was asked for, parsed
            draft.add(orjson.dumps(content).decode())
            content = None
        for block in (content,) if isinstance(content, dict) else listing(content):
            _block(block, draft)
        for position, call in enumerate(map(mapping, listing(message.get("tool_calls")))):
            index = call.get("index")
            arguments = mapping(call.get("function")).get("arguments")
            draft.add_call(index if isinstance(index, int) else position, arguments)
        draft.add_call(0, mapping(message.get("function_call")).get("arguments"))  # the form before tools
    draft.done = body.get("done") is True


def _block(block: object, draft: Draft) -> None:
    """Add a part of the content: text, or thoughts (Magistral's `thinking`, others' `reasoning`)."""
    if isinstance(block, str):
        draft.add(block)
        return
    stated = mapping(block)
    if stated.get("type") in ("thinking", "reasoning"):
        draft.add_thought(stated.get("text"), stated.get("thinking"))
        for thought in listing(stated.get("thinking")):
            draft.add_thought(mapping(thought).get("text"))
    else:
        draft.add(stated.get("text"))


DIALECT = Dialect(
    name="openai",
    base_url="https://api.openai.com/v1",
    key_env="OPENAI_API_KEY",
    chat_path="/chat/completions",
    models_path="/models",
    parameters=frozenset({"temperature", "top_p", "frequency_penalty", "presence_penalty"}),
    encode=_encode,
    read=_read,
    read_event=_read,
    usage=openai_usage,
    headers=bearer,
    enforces=("api.openai.com", ".openai.azure.com"),
    tiers=True,
)
