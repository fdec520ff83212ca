"""How a route is asked: a refusal changes it once, for all calls, with a word to the user, and that comes to an end."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from docreduce.models.routes import Sampling
from docreduce.providers import openai
from docreduce.providers.manner import OPTIONAL, Asking
from docreduce.values import Answer, Cause, Decision, Rejection, Reply
from hypothesis import given
from hypothesis import strategies as st
from loopback import Seen, ask, connect, response, route, sends, serve

SCHEMA = '{"type":"object","properties":{"items":{"type":"array"}},"required":["items"]}'
FORMS = ("tools", "json_schema", "json_object")


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret-0123456789abcdef")


def refusal(words: str, status: int = 400) -> bytes:
    return response({"error": {"message": words, "type": "invalid_request_error"}}, status)


def chat(content: str) -> bytes:
    usage = {"prompt_tokens": 100, "completion_tokens": 8, "total_tokens": 108}
    return response({"choices": [{"message": {"content": content}, "finish_reason": "stop"}], "usage": usage})


async def talk(
    answers: Callable[[dict[str, Any]], bytes], calls: int, *, at_once: int = 1, **fields: Any
) -> tuple[list[Reply], Seen, list[str]]:
    """`calls` calls, `at_once` of them in flight together; each refused one is asked again as the wire says."""
    async with serve(sends(b"")) as seen:

        async def script(writer: asyncio.StreamWriter) -> None:
            body = seen.json()
            await asyncio.sleep(0.01)
            writer.write(answers(body))

        seen.script = script
        provider = connect(f"http://127.0.0.1:{seen.port}/v1", **fields)

        async def one(number: int) -> Reply:
            while True:
                got = await provider.send(ask(f"Text {number}.", schema=fields.get("forms") and SCHEMA), timeout_s=10)
                if not isinstance(got, Rejection) or got.decision is not Decision.AGAIN:
                    return got

        replies: list[Reply] = []
        for start in range(0, calls, at_once):
            replies += await asyncio.gather(*(one(start + number) for number in range(at_once)))
        await provider.aclose()
        return replies, seen, provider.notes


def test_a_refused_parameter_is_left_out_from_then_on_and_said_once() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        return refusal("`temperature` is deprecated for this model.") if "temperature" in body else chat("Yes.")

    replies, seen, notes = asyncio.run(talk(answers, 6))
    assert all(isinstance(reply, Answer) for reply in replies)
    assert len(seen.requests) == 7
    assert notes == ["some-model: temperature is refused: not sent any more"]


def test_calls_in_flight_when_a_form_is_refused_lower_it_once() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        return refusal("tools are not supported by this model") if "tools" in body else chat('{"items":[]}')

    replies, seen, notes = asyncio.run(talk(answers, 8, at_once=8, forms=FORMS))
    assert all(isinstance(reply, Answer) for reply in replies)
    assert len(seen.requests) == 16
    assert [set(seen.json(number)) & {"tools", "response_format"} for number in range(8, 16)] == [
        {"response_format"}
    ] * 8
    assert notes == ["some-model: structured output by tools is refused: json_schema from now on"]


def test_every_form_gives_way_until_the_schema_stands_in_the_prompt() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        if {"tools", "response_format"} & set(body):
            return refusal("Structured output is not supported: tools, response_format")
        return chat('{"items":[]}')

    replies, seen, notes = asyncio.run(talk(answers, 2, forms=FORMS))
    assert all(isinstance(reply, Answer) for reply in replies)
    assert len(seen.requests) == 5
    assert len(notes) == 3
    assert SCHEMA in seen.json()["messages"][0]["content"]


def test_an_explicit_form_falls_back_to_the_prompt_and_says_so() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        return refusal("response_format is not supported") if "response_format" in body else chat('{"items":[]}')

    replies, _, notes = asyncio.run(talk(answers, 1, forms=("json_schema",)))
    assert isinstance(replies[0], Answer)
    assert notes == ["some-model: structured output by json_schema is refused: prompt from now on"]


def test_a_tool_is_named_then_required_then_offered_then_the_form_gives_way() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        if "tool_choice" in body:
            return refusal("This model does not support this tool_choice")
        return chat("Prose.") if "tools" in body else chat('{"items":[]}')

    replies, seen, notes = asyncio.run(talk(answers, 1, forms=("tools",)))
    assert isinstance(replies[0], Answer)
    choices = [seen.json(number).get("tool_choice") for number in range(4)]
    assert [type(choice) for choice in choices] == [dict, str, type(None), type(None)]
    assert len(notes) == 3


@pytest.mark.parametrize("form", ["tools", "json_schema"])
@pytest.mark.parametrize("content", ["It sells a barn.", '{"seller": "Acme"}', "[1]"])
def test_a_form_that_is_passed_over_in_silence_gives_way_and_its_bill_is_charged(form: str, content: str) -> None:
    async def work() -> Reply:
        async with serve(sends(b"")) as seen:
            seen.script = lambda writer: _write(writer, chat(content))
            provider = connect(f"http://127.0.0.1:{seen.port}/v1", forms=(form,))
            got = await provider.send(ask(schema=SCHEMA), timeout_s=10)
            await provider.aclose()
            return got

    got = asyncio.run(work())
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.UNSUPPORTED, Decision.AGAIN, "charged")
    assert got.usage is not None


ORDERS = (
    '{"type": "object", "required": ["items"], "properties": {"items": {"type": "array", "items": {"type": "object",'
    ' "properties": {"who": {"type": "string"}, "due": {"type": "number"}}}}}}'
)


@pytest.mark.parametrize("form", ["tools", "json_schema"])
@pytest.mark.parametrize(
    "content",
    [
        '{"items": [{"who": "Acme", "due": "1,250.00", "evidence": {"who": "Acme", "due": "1,250.00"}}]}',
        '{"who": "Acme", "due": 1}',
    ],
)
def test_an_answer_in_the_schema_s_own_fields_is_for_the_kind_to_judge(form: str, content: str) -> None:
    async def work() -> Reply:
        async with serve(sends(b"")) as seen:
            seen.script = lambda writer: _write(writer, chat(content))
            provider = connect(f"http://127.0.0.1:{seen.port}/v1", forms=(form,))
            got = await provider.send(ask(schema=ORDERS), timeout_s=10)
            await provider.aclose()
            return got

    assert isinstance(asyncio.run(work()), Answer)


@pytest.mark.parametrize("form", ["tools", "json_schema"])
def test_json_that_came_out_broken_is_no_sign_that_a_form_is_ignored(form: str) -> None:
    replies, seen, notes = asyncio.run(talk(lambda _: chat('{"items":[1,'), 1, forms=(form,)))
    assert isinstance(replies[0], Answer)
    assert (len(seen.requests), notes) == (1, [])


async def _write(writer: asyncio.StreamWriter, raw: bytes) -> None:
    writer.write(raw)


def test_a_form_that_has_brought_answers_is_not_given_up_for_one_that_is_prose() -> None:
    contents = iter(['{"items":[]}', "Prose, this once.", '{"items":[]}'])

    replies, _, notes = asyncio.run(talk(lambda _: chat(next(contents)), 3, forms=("json_schema",)))
    assert [reply.text for reply in replies if isinstance(reply, Answer)][1] == "Prose, this once."
    assert notes == []


def test_a_refusal_of_the_prompt_itself_fails() -> None:
    replies, seen, _ = asyncio.run(talk(lambda _: refusal("tools are not supported"), 1, forms=("prompt",)))
    assert isinstance(replies[0], Rejection)
    assert (replies[0].cause, replies[0].decision) == (Cause.BAD_REQUEST, Decision.FAIL)
    assert len(seen.requests) == 1


def test_max_tokens_is_renamed_and_then_capped_at_what_the_model_gives() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        if "max_tokens" in body:
            return refusal("Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead.")
        if body["max_completion_tokens"] > 4096:
            return refusal(
                "max_completion_tokens is too large: 9000. This model supports at most 4096 completion tokens."
            )
        return chat("Yes.")

    replies, seen, _ = asyncio.run(talk(answers, 1, max_output_tokens=9000))
    assert isinstance(replies[0], Answer)
    assert seen.json()["max_completion_tokens"] == 4096
    assert len(seen.requests) == 3


def test_a_server_that_refuses_whatever_it_is_sent_is_not_asked_for_ever() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        return refusal("Not supported: " + ", ".join(body) + ", system role, max_completion_tokens, json_schema")

    sampling = Sampling(temperature=0.5, top_p=0.5, frequency_penalty=0.5, presence_penalty=0.5)
    replies, seen, notes = asyncio.run(talk(answers, 1, forms=FORMS, sampling=sampling, stream=True))
    assert isinstance(replies[0], Rejection)
    assert replies[0].decision is Decision.FAIL
    assert len(seen.requests) < 25
    assert len(notes) == len(set(notes)) == len(seen.requests) - 1


STEPS = st.sampled_from([*sorted(OPTIONAL), "form", "tool_choice", "system", "limit_key", "most_output"])


@given(steps=st.lists(st.tuples(STEPS, st.integers(0, 5), st.integers(0, 9)), max_size=60), strict=st.booleans())
def test_whatever_is_refused_in_whatever_order_the_manner_only_gets_simpler(
    steps: list[tuple[str, int, int]], strict: bool
) -> None:
    asking = Asking.begin(route(forms=FORMS, stream=True), openai.DIALECT, strict=strict)
    manners = [asking.manner]
    for what, ago, most in steps:
        asking.refused(what, manners[-1 - min(ago, len(manners) - 1)], most)
        if asking.manner != manners[-1]:
            manners.append(asking.manner)
    assert len(asking.notes) == len(manners) - 1
    for before, after in itertools.pairwise(manners):
        assert before.without <= after.without
        assert len(before.forms) >= len(after.forms) >= 1
        assert before not in manners[manners.index(after) :]


def test_the_body_of_a_folded_system_is_one_turn_of_the_user() -> None:
    def answers(body: dict[str, Any]) -> bytes:
        roles = [message["role"] for message in body["messages"]]
        return refusal("System role not supported") if "system" in roles else chat('{"items":[]}')

    _, seen, _ = asyncio.run(talk(answers, 1, forms=("prompt",)))
    (turn,) = seen.json()["messages"]
    assert turn["role"] == "user"
    assert turn["content"].startswith("Be brief.\n\n")
    assert turn["content"].endswith(SCHEMA + "\n\nText 0.")


def test_a_schema_is_strict_where_the_service_is_known_to_enforce_it() -> None:
    optional = '{"type":"object","properties":{"a":{"type":"string"},"b":{"type":["integer","null"]}},"required":["a"]}'
    to = route(forms=("json_schema",))
    asking = Asking.begin(to, openai.DIALECT, strict=True)
    body = orjson.loads(openai.DIALECT.encode(ask(schema=optional), to, asking.manner, "").body)
    wanted = body["response_format"]["json_schema"]
    assert wanted["strict"] is True
    assert wanted["schema"]["required"] == ["a", "b"]
    assert wanted["schema"]["additionalProperties"] is False
