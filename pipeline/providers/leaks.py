"""A tool call that a server left in the text, where it has no reader for its model's marks. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from docreduce.providers.dialect import TOOL_NAME

__all__ = ["leaked_call"]

_MARK = re.compile(
    rf"<tool_call>|\[TOOL_CALLS\]|<\|python_tag\|>|<function={TOOL_NAME}>|to=functions\.{TOOL_NAME}\b[^{{<]{{0,40}}"
    rf"(?:<\|constrain\|>[^{{<]{{0,20}})?<\|message\|>"
    rf"|<｜tool▁sep｜>{TOOL_NAME}\s|\A(?=\s*\{{\s*\"name\")"
)
"""Hermes and Qwen, Mistral, Llama (two), Harmony, DeepSeek; some write the bare object."""
_DECODER = json.JSONDecoder(strict=False)


def leaked_call(text: str) -> Any:
    """The arguments of the call that stands in `text`, None where none does."""
    mark = _MARK.search(text)
    begin = re.compile(r"[{\[]").search(text, mark.end()) if mark else None
    if begin is None:
        return None
    try:
        value, _ = _DECODER.raw_decode(text, begin.start())
    except (ValueError, RecursionError):
        return None
    if isinstance(value, list):
        value = value[0] if len(value) == 1 else None
    if isinstance(value, dict) and value.get("name") == TOOL_NAME:
        inner = next((value[name] for name in ("arguments", "parameters") if name in value), None)
        return inner if isinstance(inner, (dict, str)) else None
    bare = text[mark.start() : mark.end()] if mark else ""
    return value if isinstance(value, dict) and TOOL_NAME in bare else None
