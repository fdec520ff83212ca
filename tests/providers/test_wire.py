"""What the services say, row by row: status, headers and body in; answer or rejection out."""

# ruff: noqa: E501 (rows of a table)

from __future__ import annotations

import orjson
import pytest
from docreduce.providers import anthropic, modelslab, openai
from docreduce.providers.dialect import Call, HttpResponse
from docreduce.providers.draft import looping
from docreduce.providers.manner import Asking
from docreduce.providers.replies import StreamReader, decode
from docreduce.values import Answer, Cause, Decision, Rejection, Reply, Usage
from hypothesis import given, settings
from hypothesis import strategies as st
from loopback import ask, route

NOW = 1_700_000_000.0
DIALECTS = {
    "openai": openai.DIALECT,
    "anthropic": anthropic.DIALECT,
    "modelslab": modelslab.DIALECT,
    "modelslab messages": modelslab.MESSAGES,
}


def sent(name: str, text: str = "What is said?", schema: str | None = None, **fields: object) -> Call:
    """A call as the dialect sends it."""
    request, to = ask(text, schema=schema), route(dialect=name, **fields)
    asking = Asking.begin(to, DIALECTS[name], strict=False)
    made = DIALECTS[name].encode(request, to, asking.manner, "")
    return Call(
        request=request,
        route=to,
        manner=asking.manner,
        asking=asking,
        sent=made,
    )


def reply(name: str, status: int, body: object, headers: dict[str, str] | None = None, **fields: object) -> Reply:
    raw = body if isinstance(body, bytes) else orjson.dumps(body)
    response = HttpResponse(status=status, headers=headers or {}, body=raw, received_at=NOW)
    return decode(DIALECTS[name], sent(name, **fields), response)


def chat(content: object = "Hello", finish: object = "stop", usage: object = "default", **message: object) -> dict:
    body: dict = {
        "id": "gen-1",
        "object": "chat.completion",
        "choices": [
            {"index": 0, "message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}
        ],
    }
    stated = {"prompt_tokens": 25, "completion_tokens": 8, "total_tokens": 33} if usage == "default" else usage
    return body | ({"usage": stated} if stated else {})


def message(content: list, stop: str = "end_turn", **usage: int) -> dict:
    return {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": content,
        "stop_reason": stop,
        "usage": {"input_tokens": 15, "output_tokens": 8, **usage},
    }


# -- errors: (status, headers, body) -> (cause, decision, billing) in every dialect ---------------------------------

ERRORS = {
    # the four shapes
    "modelslab error": (500, {}, {"status": "error", "message": "Something"}, Cause.SERVER_ERROR, "retry", "free"),
    "modelslab error in a 200": (
        200, {}, {"status": "error", "message": "Provider returned error"}, Cause.SERVER_ERROR, "retry", "free",
    ),
    "modelslab messege in a 200": (
        200, {}, {"status": "error", "messege": "Invalid API key"}, Cause.AUTHENTICATION, "stop", "free",
    ),
    "modelslab credits in a 200": (
        200, {}, {"status": "error", "message": "Insufficient credits. Please top up."}, Cause.CREDIT, "stop", "free",
    ),
    "modelslab rate limit in a 200": (
        200, {}, {"status": "error", "message": "Rate limit exceeded. Maximum 5 queued requests allowed."},
        Cause.RATE_LIMITED, "retry", "free",
    ),
    "openai error": (
        500, {}, {"error": {"message": "The server had an error", "type": "server_error", "code": None}},
        Cause.SERVER_ERROR, "retry", "free",
    ),
    "openrouter error once generation began": (
        200, {}, {"error": {"code": 502, "message": "Upstream", "metadata": {}}}, Cause.SERVER_ERROR, "retry", "unknown",
    ),
    "openrouter error in a choice": (
        200, {}, {"choices": [{"message": {"content": "ha"}, "error": {"code": 503, "message": "Down"}}]},
        Cause.OVERLOADED, "retry", "unknown",
    ),
    "anthropic overloaded": (
        529, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Cause.OVERLOADED, "retry", "free",
    ),
    "anthropic overloaded in a 200": (
        200, {}, {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
        Cause.OVERLOADED, "retry", "unknown",
    ),
    # kin
    "vllm error object": (
        400, {}, {"object": "error", "message": "This model's maximum context length is 8192 tokens.", "code": 400},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "fastapi detail": (422, {}, {"detail": [{"msg": "field required"}]}, Cause.BAD_REQUEST, "fail", "free"),
    "html from a gateway": (502, {}, b"<html><h1>Bad gateway</h1></html>", Cause.SERVER_ERROR, "retry", "free"),
    "an empty body": (503, {}, b"", Cause.OVERLOADED, "retry", "free"),
    "an error that is a string": (400, {}, {"error": "no such field"}, Cause.BAD_REQUEST, "fail", "free"),
    "processing": (200, {}, {"status": "processing", "id": 7, "eta": 4}, Cause.PROCESSING, "retry", "unknown"),
    # statuses alone
    **{
        f"status {status}": (status, {}, {"error": {"message": "no"}}, cause, decision, billing)
        for status, cause, decision, billing in (
            (301, Cause.BAD_REQUEST, "stop", "free"),
            (307, Cause.BAD_REQUEST, "stop", "free"),
            (400, Cause.BAD_REQUEST, "fail", "free"),
            (401, Cause.AUTHENTICATION, "stop", "free"),
            (402, Cause.CREDIT, "stop", "free"),
            (403, Cause.PERMISSION, "stop", "free"),
            (404, Cause.UNKNOWN_MODEL, "stop", "free"),
            (405, Cause.UNKNOWN_MODEL, "stop", "free"),
            (408, Cause.TIMEOUT, "retry", "unknown"),
            (409, Cause.SERVER_ERROR, "retry", "free"),
            (413, Cause.CONTEXT_OVERFLOW, "split", "free"),
            (422, Cause.BAD_REQUEST, "fail", "free"),
            (425, Cause.OVERLOADED, "retry", "free"),
            (429, Cause.RATE_LIMITED, "retry", "free"),
            (500, Cause.SERVER_ERROR, "retry", "free"),
            (502, Cause.SERVER_ERROR, "retry", "free"),
            (503, Cause.OVERLOADED, "retry", "free"),
            (504, Cause.TIMEOUT, "retry", "unknown"),
            (520, Cause.SERVER_ERROR, "retry", "free"),
            (529, Cause.OVERLOADED, "retry", "free"),
        )
    },
    # fields that say more than their status
    "quota gone": (
        429, {}, {"error": {"message": "You exceeded your current quota", "code": "insufficient_quota"}},
        Cause.CREDIT, "stop", "free",
    ),
    "spend limit": (
        429, {}, {"error": {"message": "Monthly spend limit reached", "type": "rate_limit_error"}},
        Cause.CREDIT, "stop", "free",
    ),
    "larger than the minute's tokens": (
        429, {}, {"error": {"message": "Request too large for m on tokens per min (TPM)", "code": "rate_limit_exceeded"}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "openai context": (
        400, {}, {"error": {"message": "…", "type": "invalid_request_error", "code": "context_length_exceeded"}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "llama.cpp context": (
        400, {}, {"error": {"code": 400, "message": "the request exceeds the available context size",
                            "type": "exceed_context_size_error", "n_prompt_tokens": 900, "n_ctx": 512}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "anthropic prompt too long": (
        400, {}, {"type": "error", "error": {"type": "invalid_request_error",
                                             "message": "prompt is too long: 210000 tokens > 200000 maximum"}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "anthropic max_tokens over the window": (
        400, {}, {"type": "error", "error": {"type": "invalid_request_error",
                                             "message": "input length and `max_tokens` exceed context limit: 1 + 2 > 3"}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "upstream context inside metadata": (
        400, {}, {"error": {"code": 400, "message": "Provider returned error",
                            "metadata": {"raw": "This model's maximum context length is 8192 tokens"}}},
        Cause.CONTEXT_OVERFLOW, "split", "free",
    ),
    "anthropic balance": (
        400, {}, {"type": "error", "error": {"type": "invalid_request_error",
                                             "message": "Your credit balance is too low to access the API."}},
        Cause.CREDIT, "stop", "free",
    ),
    "unknown model with 400": (
        400, {}, {"error": {"message": "foo/bar is not a valid model ID", "code": 400}},
        Cause.UNKNOWN_MODEL, "stop", "free",
    ),
    "moderation is about this text": (
        403, {}, {"error": {"code": 403, "message": "flagged", "metadata": {"reasons": ["x"], "flagged_input": "y"}}},
        Cause.CONTENT_FILTER, "fail", "free",
    ),
    "azure content filter": (
        400, {}, {"error": {"message": "filtered", "code": "content_filter"}}, Cause.CONTENT_FILTER, "fail", "free",
    ),
    "llama.cpp loading": (
        503, {}, {"error": {"code": 503, "message": "Loading model", "type": "unavailable_error"}},
        Cause.OVERLOADED, "retry", "free",
    ),
    # successes that are none
    "truncated json": (200, {}, b'{"choices": [{"mess', Cause.BAD_BODY, "retry", "unknown"),
    "a page with status 200": (200, {"content-type": "text/html"}, b"<html>", Cause.BAD_BODY, "retry", "unknown"),
    "json that is no object": (200, {}, b"[1]", Cause.BAD_BODY, "retry", "unknown"),
    "json without an answer": (200, {}, {"hello": "world"}, Cause.BAD_BODY, "retry", "unknown"),
    "no choices": (200, {}, {"choices": [], "content": None}, Cause.BAD_BODY, "retry", "unknown"),
    "not utf-8": (200, {}, b'{"choices": [{"message": {"content": "\xff"}}]}', Cause.BAD_BODY, "retry", "unknown"),
}  # fmt: skip


@pytest.mark.parametrize("dialect", DIALECTS)
@pytest.mark.parametrize("case", ERRORS)
def test_an_error_becomes_its_cause_and_decision_in_every_dialect(dialect: str, case: str) -> None:
    status, headers, body, cause, decision, billing = ERRORS[case]
    got = reply(dialect, status, body, headers)
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing, got.http_status) == (cause, Decision(decision), billing, status)
    assert got.usage is None


@pytest.mark.parametrize(
    ("headers", "body", "wait_s"),
    [
        ({"retry-after": "2"}, {}, 2.0),
        ({"retry-after": "1.5"}, {}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "9"}, {"retry_after": 30}, 0.25),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:50 GMT"}, {}, 30.0),
        ({"retry-after": "Tue, 14 Nov 2023 22:00:00 GMT"}, {}, 0.0),
        ({"retry-after": "soon"}, {"retry_after": 3}, 3.0),
        ({}, {"retry_after": 30}, 30.0),
        ({}, {"retry_after": "30"}, 30.0),
        ({}, {"retry_after": -1}, 0.0),
        ({"retry-after": "nan"}, {}, None),
        ({}, {"retry_after": True}, None),
        ({}, {}, None),
    ],
)
def test_the_wait_is_read_from_the_first_place_that_states_it(headers: dict, body: dict, wait_s: float | None) -> None:
    full = {"status": "error", "message": "Rate limit exceeded."} | body
    got = reply("modelslab", 429, full, headers)
    assert isinstance(got, Rejection)
    assert got.retry_after_s == wait_s


def test_a_nested_retry_after_is_found_too() -> None:
    got = reply("openai", 429, {"error": {"message": "no", "metadata": {"retry_after": 7}}})
    assert isinstance(got, Rejection)
    assert got.retry_after_s == 7.0


def test_processing_waits_for_its_eta() -> None:
    got = reply("modelslab", 200, {"status": "processing", "eta": 4})
    assert isinstance(got, Rejection)
    assert got.retry_after_s == 4.0


@pytest.mark.parametrize("form", ["tools", "json_schema", "json_object"])
@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, {"message": "'response_format' of type 'json_schema' is not supported with this model.", "code": None}),
        (400, {"message": "Invalid parameter", "param": "response_format"}),
        (404, {"message": "No endpoints found that support tool use.", "code": 404}),
        (422, {"message": "Extra inputs are not permitted: tools"}),
        (500, {"message": "tools param requires --jinja flag", "type": "server_error"}),
    ],
)
def test_a_refused_form_of_output_is_to_be_asked_in_the_next_one(form: str, status: int, error: dict) -> None:
    got = reply("openai", status, {"error": error}, forms=(form,), schema="{}")
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision, got.billing) == (Cause.UNSUPPORTED, Decision.AGAIN, "free")


def test_a_form_refused_inside_a_200_is_unsupported_too() -> None:
    body = {"status": "error", "message": "response_format is not supported by this model"}
    got = reply("modelslab", 200, body, forms=("json_object",), schema="{}")
    assert isinstance(got, Rejection)
    assert (got.cause, got.decision) == (Cause.UNSUPPORTED, Decision.AGAIN)


def test_the_same_words_are_no_unsupported_form_where_none_was_asked_for() -> None:
    got = reply("openai", 400, {"error": {"message": "the tools in this prompt are odd"}})
    assert isinstance(got, Rejection)
    assert got.cause == Cause.BAD_REQUEST


def test_an_error_that_states_its_usage_is_charged() -> None:
    body = chat() | {"error": {"code": 502, "message": "broke off"}}
    got = reply("openai", 200, body)
    assert isinstance(got, Rejection)
    assert (got.billing, got.usage) == ("charged", Usage(input_tokens=25, output_tokens=8))


def test_a_message_is_one_clean_bounded_line() -> None:
    got = reply("openai", 400, {"error": {"message": "a\x1b[31m\n\u202eb" + "x" * 9000}})
    assert isinstance(got, Rejection)
    assert got.message.startswith("HTTP 400: a [31m b")
    assert got.message.isprintable()
    assert len(got.message) == 500


# -- answers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dialect", "body", "text", "finish"),
    [
        ("openai", chat(), "Hello", "stop"),
        ("modelslab", chat(), "Hello", "stop"),
        ("openai", chat([{"type": "text", "text": "Hel"}, {"type": "text", "text": "lo"}]), "Hello", "stop"),
        ("openai", chat("Hel", "length"), "Hel", "length"),
        ("openai", chat("Hello", "eos"), "Hello", "stop"),
        ("openai", chat("Hello", None), "Hello", "stop"),
        ("openai", chat("Hello", None, {"prompt_tokens": 1, "completion_tokens": 100}), "Hello", "length"),
        (
            "openai",
            chat(None, "tool_calls", tool_calls=[{"function": {"name": "record", "arguments": '{"items":[]}'}}]),
            '{"items":[]}',
            "tool_calls",
        ),
        (
            "openai",
            chat(None, "tool_calls", tool_calls=[{"function": {"name": "record", "arguments": {"items": [1]}}}]),
            '{"items":[1]}',
            "tool_calls",
        ),
        (
            "openai",
            chat(None, "tool_calls", tool_calls=[{"function": {"arguments": '{"items":[1]}'}}, {"function": {"arguments": '{"items":[2]}'}}]),
            '{"items":[1,2]}',
            "tool_calls",
        ),
        ("openai", chat(None, "function_call", function_call={"name": "record", "arguments": "{}"}), "{}", "tool_calls"),
        ("anthropic", message([{"type": "text", "text": "Hello"}]), "Hello", "stop"),
        ("anthropic", message([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "Hi"}]), "Hi", "stop"),
        ("anthropic", message([{"type": "text", "text": "Hi"}], "stop_sequence"), "Hi", "stop"),
        ("anthropic", message([{"type": "text", "text": "Hi"}], "max_tokens"), "Hi", "length"),
        ("anthropic", message([{"type": "text", "text": "Hi"}], "model_context_window_exceeded"), "Hi", "length"),
        ("anthropic", message([{"type": "text", "text": "Hi"}], "pause_turn"), "Hi", "length"),
        (
            "anthropic",
            message([{"type": "text", "text": "I record"}, {"type": "tool_use", "input": {"items": []}}], "tool_use"),
            '{"items":[]}',
            "tool_calls",
        ),
    ],
)  # fmt: skip
def test_an_answer_is_read_whole(dialect: str, body: dict, text: str, finish: str) -> None:
    got = reply(dialect, 200, body, {"x-request-id": "req-9"})
    assert isinstance(got, Answer)
    assert (got.text, got.finish_reason, got.request_id) == (text, finish, "req-9")


def test_openai_usage_details_are_subsets() -> None:
    usage = {
        "prompt_tokens": 4680,
        "completion_tokens": 1247,
        "prompt_tokens_details": {"cached_tokens": 4000},
        "completion_tokens_details": {"reasoning_tokens": 200},
    }
    got = reply("openai", 200, chat(usage=usage), max_output_tokens=2000)
    assert isinstance(got, Answer)
    assert got.usage == Usage(input_tokens=4680, output_tokens=1247, cached_input_tokens=4000, reasoning_tokens=200)


def test_anthropic_input_is_fresh_and_written_and_read_together() -> None:
    body = message([{"type": "text", "text": "Hi"}], cache_creation_input_tokens=100, cache_read_input_tokens=1000)
    got = reply("anthropic", 200, body)
    assert isinstance(got, Answer)
    assert got.usage == Usage(input_tokens=1115, output_tokens=8, cached_input_tokens=1000, cache_write_tokens=100)


@pytest.mark.parametrize("count", [None, -1, "-25", "2.5", "some", "", 2.5, True])
def test_a_count_that_is_none_is_no_usage(count: object) -> None:
    got = reply("openai", 200, chat(usage={"prompt_tokens": count, "completion_tokens": 8}))
    assert isinstance(got, Answer)
    assert got.usage is None


def test_a_lone_surrogate_does_not_lose_a_paid_answer() -> None:
    got = reply("openai", 200, orjson.dumps(chat("XX")).replace(b"XX", b"a\\ud83db"))
    assert isinstance(got, Answer)
    assert got.text == "a�b"


@pytest.mark.parametrize(
    ("dialect", "body", "cause", "billing"),
    [
        ("openai", chat("", "length"), Cause.EMPTY, "charged"),
        ("openai", chat(None, "stop"), Cause.EMPTY, "charged"),
        ("openai", chat(" \n", "stop", None), Cause.EMPTY, "unknown"),
        ("anthropic", message([], "end_turn"), Cause.EMPTY, "charged"),
        ("openai", chat("The party agrees to pay. " * 40, "length"), Cause.LOOP, "charged"),
        ("anthropic", message([{"type": "text", "text": "It is so. " * 90}], "max_tokens"), Cause.LOOP, "charged"),
        ("openai", chat(None, "stop", refusal="I cannot"), Cause.CONTENT_FILTER, "charged"),
        ("openai", chat("half", "content_filter"), Cause.CONTENT_FILTER, "charged"),
        ("anthropic", message([{"type": "text", "text": "No"}], "refusal"), Cause.CONTENT_FILTER, "charged"),
        ("openai", chat("half", "error"), Cause.SERVER_ERROR, "unknown"),
    ],
)
def test_an_answer_that_is_none_keeps_its_usage(dialect: str, body: dict, cause: Cause, billing: str) -> None:
    got = reply(dialect, 200, body)
    assert isinstance(got, Rejection)
    assert (got.cause, got.billing) == (cause, billing)
    fails = cause in (Cause.CONTENT_FILTER, Cause.LOOP) or "length" in str(body)
    assert got.decision == (Decision.FAIL if fails else Decision.RETRY)
    assert (got.usage is None) == ("usage" not in body)


def test_a_whole_answer_may_repeat_itself() -> None:
    assert isinstance(reply("openai", 200, chat("Row: none. " * 60, "stop")), Answer)


# -- loops ----------------------------------------------------------------------------------------------------------

PROSE = "".join(f"Clause {n}: party {n * 7 % 13} pays {n * n} dollars on day {n % 30}. " for n in range(200))


@given(unit=st.text(min_size=1, max_size=200), cut=st.integers(0, 50), lead=st.sampled_from(["", PROSE]))
def test_any_passage_repeated_to_the_limit_is_a_loop(unit: str, cut: int, lead: str) -> None:
    repeated = unit * (6 + 400 // len(unit)) + unit[: cut % len(unit)]
    assert looping(lead + repeated)


@pytest.mark.parametrize("text", [PROSE, "", "No. " * 10, PROSE + "The end. The end.", "a, b; " * 40 + PROSE])
def test_prose_is_no_loop(text: str) -> None:
    assert not looping(text)


# -- any bytes at all -----------------------------------------------------------------------------------------------

WORDS = st.sampled_from(
    [
        *("<think>", "</think>", "[THINK]", '{"error": {"message": "{', "temperature is not supported", "34s", "1e9h"),
        *("Please try again in 7m12s", "resets at 2026-13-99 00:00:00 UTC", "prompt is too long: 9 > 8", "Infinity"),
        *("message_start", "content_block_start", "text", "tool_use", "error", "processing", "length", "stop"),
    ]
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=8) | WORDS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    *(
                        "choices",
                        "message",
                        "delta",
                        "content",
                        "tool_calls",
                        "function",
                        "arguments",
                        "usage",
                        "error",
                    ),
                    *("prompt_tokens", "completion_tokens", "input_tokens", "output_tokens", "finish_reason", "index"),
                    *("type", "text", "stop_reason", "code", "metadata", "raw", "status", "retry_after", "id", "input"),
                    *("prompt_tokens_details", "cached_tokens", "refusal", "param", "object", "detail", "eta"),
                    *("total_tokens", "prompt_cache_hit_tokens", "cache_creation", "service_tier", "stop_details"),
                    *("details", "retryDelay", "loc", "headers", "violations", "content_block", "thinking"),
                    *("reasoning", "reasoning_content", "failed_generation"),
                ]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)
STATUSES = st.sampled_from([200, 200, 200, 204, 302, 400, 401, 404, 413, 418, 429, 500, 503, 529, 599])
HEADERS = st.dictionaries(
    st.sampled_from(["retry-after", "retry-after-ms", "x-ratelimit-reset-tokens", "x-request-id", "location"]),
    st.text(max_size=12) | st.sampled_from(["1e999", "-1", "12ms", "9" * 400, "Tue, 99 Nov 2023 22:13:50 GMT"]),
)
BODIES = st.binary(max_size=60) | JSON.map(orjson.dumps)


@pytest.mark.long
@settings(max_examples=400, deadline=None)
@given(name=st.sampled_from(sorted(DIALECTS)), status=STATUSES, headers=HEADERS, body=BODIES)
def test_any_response_is_an_answer_or_a_rejection(name: str, status: int, headers: dict, body: bytes) -> None:
    got = reply(name, status, body, headers, forms=("tools", "json_schema"), schema="{}")
    if isinstance(got, Rejection):
        assert got.message.isprintable()
        assert len(got.message) <= 500
        assert got.retry_after_s is None or 0 <= got.retry_after_s < float("inf")
    else:
        assert isinstance(got, Answer)
        assert got.text.strip()
        assert 200 <= status < 300


@settings(max_examples=300, deadline=None)
@given(name=st.sampled_from(sorted(DIALECTS)), events=st.lists(BODIES, max_size=6), cut=st.integers(1, 40))
@pytest.mark.long
def test_any_stream_is_an_answer_or_a_rejection(name: str, events: list[bytes], cut: int) -> None:
    raw = b"".join(b"data: " + event + b"\n\n" for event in events)
    head = HttpResponse(status=200, headers={}, body=b"", received_at=NOW)
    reader = StreamReader(DIALECTS[name], sent(name), head)
    for start in range(0, len(raw), cut):
        reader.feed(raw[start : start + cut])
    assert isinstance(reader.reply or reader.finish(), (Answer, Rejection))
