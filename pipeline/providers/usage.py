"""The tokens a service states, by whatever name. What is missing is unknown, never zero. Pure.

They are told as the service said them: whether they can be true of a call the desk judges, where they are booked.

Sources: the usage objects of OpenAI's and Anthropic's API references; xAI and Gemini's compatible form, where
reasoning stands beside `completion_tokens` and in the total only; DeepSeek (`prompt_cache_hit_tokens`) and Moonshot
(`cached_tokens`) for cache reads.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from docreduce.providers.dialect import Call, mapping, token_count
from docreduce.values import Usage

__all__ = ["anthropic_usage", "cut_short", "openai_usage"]

LOWEST_RATIO = 0.6
LOWEST_RATIO_NONLATIN = 0.25
"""Fewest tokens a tokenizer can have for one of ours. Over Latin text tokenizers differ by 0.9 to 1.6; over scripts
that o200k_base and cl100k_base cut to pieces a newer one can need a third."""
LEAST_TOKENS = 1000
"""Below this a frame weighs too much to tell; the smallest window that a server takes unasked is 2048 (Ollama), and
what it drops the head of it reads half of at least."""


def openai_usage(stated: Mapping[str, Any]) -> Usage | None:
    """Tokens by OpenAI's names. Cached and reasoning are parts of input and output, or are made so.

    What is used is the larger of what is named and what the total leaves: reasoning that stands outside is in the
    total, and reasoning that stands inside is not added again."""
    stated = _snake(stated)
    if "prompt_tokens" not in stated and any(name in stated for name in _BESIDE):
        return anthropic_usage(stated)
    taken = _first(stated, "prompt_tokens", "input_tokens", "prompt_token_count", "input_token_count")
    given = _first(stated, "completion_tokens", "output_tokens", "generated_tokens", "generated_token_count")
    if given is None and (given := _first(stated, "candidates_token_count")) is not None:
        given += _first(stated, "thoughts_token_count") or 0  # Gemini's candidates are without them
    total = _first(stated, "total_tokens", "total_token_count")
    hit, missed = _first(stated, "prompt_cache_hit_tokens"), _first(stated, "prompt_cache_miss_tokens")
    if taken is None and hit is not None and missed is not None:
        taken = hit + missed
    if taken is None and given is not None and total is not None and total >= given:
        taken = total - given
    if given is None and taken is not None and total is not None and total >= taken:
        given = total - taken
    if taken is None or given is None:
        return None
    details = next((part for name in _DETAILS if (part := _snake(mapping(stated.get(name))))), {})
    cached = max(_first(place, name) or 0 for place in (details, stated) for name in _CACHED)
    written = _first(details, "cache_write_tokens", "cache_creation_tokens")
    written = (written if written is not None else _first(stated, "cache_creation_input_tokens")) or 0
    thought = mapping(stated.get("completion_tokens_details")) or mapping(stated.get("output_tokens_details"))
    reasoning = _first(thought, "reasoning_tokens")
    reasoning = reasoning if reasoning is not None else _first(stated, "reasoning_tokens", "thoughts_token_count")
    reasoning = reasoning or 0
    if cached > taken:  # it cannot be a part of it, so it stands beside
        taken += cached
    output = max(given, given + reasoning if reasoning > given else 0, (total or 0) - taken)
    return Usage(
        input_tokens=taken,
        output_tokens=output,
        cached_input_tokens=cached,
        cache_write_tokens=min(written, taken - cached),
        reasoning_tokens=max(min(reasoning, output), output - given),
    )


_BESIDE = ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_write_input_tokens")
"""Anthropic's names, and Bedrock's: where they stand beside `input_tokens`, they are no part of it."""
_DETAILS = ("prompt_tokens_details", "input_tokens_details", "input_token_details", "prompt_token_details")
_CACHED = (
    *("cached_tokens", "prompt_cache_hit_tokens", "cache_read_input_tokens", "cache_read_tokens"),
    *("cached_input_tokens", "cached_content_token_count"),
)


def _snake(stated: Mapping[str, Any]) -> Mapping[str, Any]:
    """`stated` with its names as OpenAI writes them: promptTokens is prompt_tokens."""
    return {_HUMP.sub("_", name).lower(): value for name, value in stated.items()}


_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")


def anthropic_usage(stated: Mapping[str, Any]) -> Usage | None:
    """All input tokens: Anthropic's `input_tokens` leaves out what was written to and read from the cache."""
    fresh, given = token_count(stated.get("input_tokens")), token_count(stated.get("output_tokens"))
    if fresh is None or given is None:
        return openai_usage(stated) if "prompt_tokens" in stated else None  # a gateway before another dialect
    lives = mapping(stated.get("cache_creation"))
    hour = token_count(lives.get("ephemeral_1h_input_tokens")) or 0
    written = _first(stated, "cache_creation_input_tokens", "cache_write_input_tokens")
    if written is None:
        written = hour + (token_count(lives.get("ephemeral_5m_input_tokens")) or 0)
    cached = token_count(stated.get("cache_read_input_tokens")) or 0
    thought = _first(mapping(stated.get("output_tokens_details")), "thinking_tokens", "reasoning_tokens") or 0
    return Usage(
        input_tokens=fresh + written + cached,
        output_tokens=given,
        cached_input_tokens=cached,
        cache_write_tokens=written,
        cache_write_1h_tokens=min(hour, written),
        reasoning_tokens=min(thought, given),
    )


def cut_short(usage: Usage | None, call: Call) -> bool:
    """Whether a service read far less than it was sent: fewer tokens than any tokenizer makes of its messages.

    Their share of our count is taken by characters: some services state no tokens for a schema."""
    said = sum(len(message.content) for message in call.request.messages)
    tokens = call.request.tokens * said / (said + len(call.request.schema or "") or 1)
    if usage is None or not usage.input_tokens or tokens < LEAST_TOKENS:  # zero is no count
        return False
    text = call.request.messages[-1].content
    latin = len(text.encode("utf-8", "replace")) <= 1.2 * len(text)
    return usage.input_tokens < tokens * (LOWEST_RATIO if latin else LOWEST_RATIO_NONLATIN)


def _first(stated: Mapping[str, Any], *names: str) -> int | None:
    return next((count for name in names if (count := token_count(stated.get(name))) is not None), None)
