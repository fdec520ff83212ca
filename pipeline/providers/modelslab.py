"""ModelsLab, the default service: OpenAI's form or Anthropic's, with its own name for the model and place for the key.

Source: the service's model pages and LLM documentation (v7). Its errors, also inside HTTP 200, `retry_after` in the
body and `processing` are read by `faults`, as for every dialect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from pipeline.config import ModelSettings
from pipeline.providers import anthropic, openai
from pipeline.providers.dialect import Dialect, HttpRequest, dump
from pipeline.types import Request

__all__ = ["dialect", "encode_chat", "encode_message"]

_BASE_URL = "https://modelslab.com/api/v7/llm"


def dialect(settings: ModelSettings) -> Dialect:
    """The form that `settings.api` names."""
    return _MESSAGES if settings.api == "anthropic" else _CHAT


def encode_chat(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a chat completion: `model_id`, and the key in the header or, if asked for, in the body."""
    body = {"model_id": request.model, **openai.body_of(request, stream=settings.stream)}
    return _post("/chat/completions", body, openai.bearer(key), settings, key)


def encode_message(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a message, with top_p, which the service takes for all its models."""
    body = {**anthropic.body_of(request, stream=settings.stream), "top_p": request.top_p}
    return _post("/v1/messages", body, anthropic.headers(key), settings, key)


def _post(path: str, body: dict[str, Any], headers: dict[str, str], settings: ModelSettings, key: str) -> HttpRequest:
    if settings.api_key_in == "body" and key:
        body["key"] = key
        headers = {name: value for name, value in headers.items() if name not in ("authorization", "x-api-key")}
    return HttpRequest(path=path, headers=headers, body=dump(body))


_CHAT = replace(
    openai.OPENAI,
    name="modelslab",
    base_url=_BASE_URL,
    encode=encode_chat,
    models_path="/v1/models",
    encode_count=anthropic.encode_count,
)
_MESSAGES = replace(anthropic.ANTHROPIC, name="modelslab", base_url=_BASE_URL, encode=encode_message)
