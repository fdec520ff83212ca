"""A tool call that stands in the text: read as the call it is, and nothing else taken for one."""

from __future__ import annotations

import orjson
import pytest
from docreduce.providers.leaks import leaked_call
from hypothesis import given
from hypothesis import strategies as st

ARGUMENTS = {"a": 1, "b": "x { y"}
JSON = orjson.dumps(ARGUMENTS).decode()


@pytest.mark.parametrize(
    "text",
    [
        f'<tool_call>\n{{"name": "record", "arguments": {JSON}}}\n</tool_call>',
        f'I call it.\n<tool_call>{{"name": "record", "arguments": {JSON}}}',
        f'[TOOL_CALLS][{{"name": "record", "arguments": {JSON}}}]',
        f'<|python_tag|>{{"name": "record", "parameters": {JSON}}}',
        f"<function=record>{JSON}</function>",
        f"<|channel|>commentary to=functions.record <|constrain|>json<|message|>{JSON}<|call|>",
        f"<|start|>assistant<|channel|>analysis<|message|>hm {{}}<|end|><|start|>assistant<|channel|>commentary"
        f" to=functions.record<|message|>{JSON}<|call|>",
        f"<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>record\n```json\n{JSON}\n```<｜tool▁call▁end｜>",
        f' {{"name": "record", "arguments": {JSON}}}',
    ],
)
def test_a_call_in_the_text_is_read(text: str) -> None:
    assert leaked_call(text) == ARGUMENTS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "The rent rises in May.",
        JSON,
        '{"name": "Jane Roe", "arguments": {"a": 1}}',
        '{"name": "record"}',
        '{"items": [{"name": "record", "arguments": {}}]}',
        "<tool_call>",
        '<tool_call>{"name": "record", "arguments": {"a":',
        '<tool_call>{"name": "another", "arguments": {"a": 1}}</tool_call>',
        "<function=record>not JSON</function>",
    ],
)
def test_what_is_no_call_of_the_tool_is_none(text: str) -> None:
    assert leaked_call(text) is None


@given(st.text(alphabet='<tool_call>[TOOL_CALLS]{}":record,argumentsnameto=functions. ', max_size=120))
def test_no_text_is_too_odd(text: str) -> None:
    leaked_call(text)
