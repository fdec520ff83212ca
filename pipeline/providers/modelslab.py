"""ModelsLab, the default service: OpenAI's form, with its own name for the model and place for the key.

Source: the service's model pages and LLM documentation (v7). Its errors, also inside HTTP 200, `retry_after` in the
body and `processing` are read by `faults`, as for every dialect.
"""

from __future__ import annotations

from dataclasses import replace

from docreduce.config import ModelSettings
from docreduce.providers import openai
from docreduce.providers.dialect import HttpRequest, dump
from docreduce.values import Request

__all__ = ["DIALECT"]


def _encode(request: Request, settings: ModelSettings, key: str) -> HttpRequest:
    """The POST of a chat completion. The key is in the header or, if asked for, in the body."""
    body = {"model_id": request.model, **openai.body_of(request, stream=settings.stream)}
    if settings.api_key_in == "body" and key:
        body["key"], key = key, ""
    return HttpRequest(path="/chat/completions", headers=openai.bearer(key), body=dump(body))


DIALECT = replace(
    openai.DIALECT,
    name="modelslab",
    base_url="https://modelslab.com/api/v7/llm",
    key_env="MODELSLAB_API_KEY",
    encode=_encode,
    models_path="/v1/models",
)
