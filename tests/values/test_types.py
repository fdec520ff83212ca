"""What travels: identity of requests."""

from __future__ import annotations

from dataclasses import replace

from docreduce.values import Message, Request

REQUEST = Request(
    provider="openai",
    model="m",
    messages=(Message("system", "s"), Message("user", "text")),
    max_output_tokens=10,
    temperature=0.7,
    top_p=0.9,
)


def test_a_key_depends_on_what_is_asked() -> None:
    keys = {
        request.key
        for request in (
            REQUEST,
            replace(REQUEST, model="other"),
            replace(REQUEST, provider="anthropic"),
            replace(REQUEST, messages=(Message("user", "text"),)),
            replace(REQUEST, max_output_tokens=11),
            replace(REQUEST, temperature=0.0),
            replace(REQUEST, schema="{}"),
            replace(REQUEST, salt="again"),
        )
    }
    assert len(keys) == 8


def test_a_key_does_not_depend_on_where_a_request_belongs() -> None:
    moved = replace(REQUEST, stage="reduce", chunk=7, input_tokens=99, documents=(3,))
    assert moved.key == REQUEST.key
    assert moved == REQUEST


def test_a_key_is_the_same_in_every_process() -> None:
    assert REQUEST.key == "5e9d30316ab979b91dd81d86ec2307dc3e68129a34ed981f2b7ded0eeda43496"


def test_a_lone_surrogate_has_a_key() -> None:
    assert len(replace(REQUEST, messages=(Message("user", "a\ud800b"),)).key) == 64
