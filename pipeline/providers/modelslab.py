"""ModelsLab, the default service: OpenAI's form or Anthropic's, with its own name for the model and place for the key.

Source: the service's model pages and LLM documentation (v7). Its errors, also inside HTTP 200, `retry_after` in the
body and `processing` are read by `faults`, as for every dialect.
"""

from __future__ import annotations

from dataclasses import replace

from pipeline.config import ModelSettings
from pipeline.providers import anthropic, openai
from pipeline.providers.dialect import Dialect, HttpRequest, dump
from pipeline.types import Request

__all__ = ["dialect"]


def dialect(settings: ModelSettings) -> Dialect:
    """The form that `settings.api` names."""
    return _MESSAGES if settings.api == "anthropic" else _CHAT


def _encode(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a chat completion, with `model_id`, or of a message, with top_p, which the service takes for all its
    models. The key is in the header or, if asked for, in the body."""
    form = dialect(settings)
    if form is _CHAT:
        path, body = "/chat/completions", {"model_id": request.model, **openai.body_of(request, stream=settings.stream)}
    else:
        path, body = "/v1/messages", anthropic.body_of(request, stream=settings.stream) | {"top_p": request.top_p}
    in_body = settings.api_key_in == "body" and key
    if in_body:
        body["key"] = key
    return HttpRequest(path=path, headers=form.headers("" if in_body else key), body=dump(body))


_URL = "https://modelslab.com/api/v7/llm"
_MESSAGES = replace(anthropic.ANTHROPIC, name="modelslab", base_url=_URL, encode=_encode)
_CHAT = replace(
    openai.OPENAI,
    name="modelslab",
    base_url=_URL,
    encode=_encode,
    models_path="/v1/models",
    encode_count=anthropic.encode_count,
)
