"""ModelsLab, the default service: OpenAI's form, with its own name for the model and place for the key; or Anthropic's.

Source: the service's model pages and LLM documentation (v7). Its errors, also inside HTTP 200, `retry_after` in the
body and `processing` are read by `faults`, as for every dialect.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from docreduce.providers import anthropic, openai
from docreduce.providers.dialect import HttpRequest, dump
from docreduce.values import Request

if TYPE_CHECKING:
    from docreduce.models.routes import Route
    from docreduce.providers.manner import Manner

__all__ = ["DIALECT", "MESSAGES"]


def _encode(request: Request, route: Route, manner: Manner, key: str) -> HttpRequest:
    """The POST of a chat completion. The key is in the header or, if asked for, in the body."""
    body = {"model_id": route.model, **openai.body_of(request, route, manner)}
    if route.key_in == "body" and key:
        body["key"], key = key, ""
    headers, form = openai.bearer(key), manner.forms[0] if request.schema is not None else None
    return HttpRequest(path=DIALECT.chat_path, headers=headers, body=dump(body), keys=frozenset(body), form=form)


DIALECT = replace(
    openai.DIALECT,
    name="modelslab",
    base_url="https://modelslab.com/api/v7/llm",
    key_env="MODELSLAB_API_KEY",
    models_path="/v1/models",
    encode=_encode,
    count=anthropic.DIALECT.count,
    enforces=(),
    tiers=False,
)

MESSAGES = replace(
    anthropic.DIALECT,
    name="modelslab",
    base_url=DIALECT.base_url,
    key_env=DIALECT.key_env,
    models_path=DIALECT.models_path,
    enforces=(),
)
"""Its Messages form, which `model.dialect = "anthropic"` asks for."""
