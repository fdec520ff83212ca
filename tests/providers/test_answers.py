"""What an answer is: without the model's thoughts, of an ending that is known, with the usage that was stated."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
from docreduce.providers import openai
from docreduce.providers.dialect import Call
from docreduce.providers.draft import FINISH, ending, without_thoughts
from docreduce.providers.leaks import leaked_call
from docreduce.providers.manner import Asking
from docreduce.providers.usage import anthropic_usage, cut_short, openai_usage
from docreduce.values import Usage
from hypothesis import given
from hypothesis import strategies as st
from loopback import ask, route

SAID = "The rent rises in May."


@pytest.mark.parametrize(
    "text",
    [
        f"<think>\nOkay.\n</think>\n\n{SAID}",
        f"<think>Okay.</think>{SAID}",
        f"<THINK>Okay.</THINK>{SAID}",
        f"<thinking>\nOkay.\n</thinking>\n{SAID}",
        f"<thought>Okay.</thought>\n{SAID}",
        f"<reasoning>Okay.</reasoning>\n{SAID}",
        f"<seed:think>Okay.</seed:think>{SAID}",
        f"<longcat_think>Okay.</longcat_think>{SAID}",
        f"<mm:think>Okay.</mm:think>\n{SAID}",
        f"<antThinking>Okay.</antThinking>{SAID}",
        f"<internal_monologue>Okay.</internal_monologue>{SAID}",
        f"<unused94>thought\nOkay.<unused95>{SAID}",
        f"Here is my thought process: Okay.\nHere is my response: {SAID}",
        f"<think>Okay.</think>\n<answer>{SAID}</answer>",
        f"[THINK]Okay.[/THINK]{SAID}",
        f"◁think▷Okay.◁/think▷{SAID}",
        f"Okay, the user wants this.\n</think>\n\n{SAID}",
        f"Okay.</thinking>{SAID}",
        f"<think>one</think>\n<think>two</think>\n{SAID}",
        f"{SAID}\n<think>Was that right? Yes.</think>",
        f"<|channel|>analysis<|message|>Okay.<|end|><|start|>assistant<|channel|>final<|message|>{SAID}<|return|>",
        f"<|channel|>analysis<|message|>Okay.<|end|><|channel|>final <|constrain|>json<|message|>{SAID}",
        f"<|think|>Okay.<|/think|>{SAID}",
        f"<inner_thoughts>Okay.</inner_thoughts>{SAID}",
        f"[THINKING]Okay.[/THINKING]{SAID}",
        f"<ctrl94>thought\nOkay.<ctrl95>{SAID}",
        f"Okay.<｜end▁of▁thinking｜>{SAID}",
        f"<think>Okay.</think><final>{SAID}</final>",
        f"<think>Okay.</think><|begin_of_box|>{SAID}<|end_of_box|>",
        f"analysisOkay.assistantfinal{SAID}",
        f"analysisOkay.assistantcommentaryHm.assistantfinal{SAID}",
        f"We need one sentence. Let's answer.assistantfinal{SAID}",
    ],
)
def test_thoughts_are_no_part_of_an_answer(text: str) -> None:
    assert without_thoughts(text) == SAID


@pytest.mark.parametrize(
    "text",
    [
        "<think>Okay, let me",
        "<think></think>",
        "Hm.\n</think>\n",
        "<thinking>\n</thinking>",
        "analysisWe need a",
        "commentaryHm.",
    ],
)
def test_nothing_but_thoughts_is_nothing(text: str) -> None:
    assert without_thoughts(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        SAID,
        "We think that the rent <rises> [in] May.",
        "R1 marks its thoughts by `<think>` and `</think>`.",
        "The paper speaks of <think> and of </think> in passing.",
        '{"items":[{"tag":"</think>"}]}',
        "a < b and [1] thinking",
        "analysis of the rent: it rises in May.",
        "Struck out: <s>The rent rises.</s>",
        "ChatML ends a turn with `<|im_end|>`",
        "It writes <|im_start|>user and <|im_end|> around what it is told.",
        "analysis: the rent rises.",
        "analysis",
        "The mark is `assistantfinal`, and assistantfinal stands before the answer.",
        '{"items":[{"mark":"x.assistantfinalYes"}]}',
    ],
)
def test_an_answer_that_speaks_of_thoughts_stays_whole(text: str) -> None:
    assert without_thoughts(text) == text


@given(st.text(alphabet="<>/[]think THINK◁▷\n{}ab`|channel", max_size=60))
def test_no_text_of_tags_is_too_odd(text: str) -> None:
    assert len(without_thoughts(text)) <= len(text)


@pytest.mark.parametrize(
    "run", ["\n", " ", "<|im_end|>", "<|im_end|>\n", "<think ", " assistantfinal ", "analysis", "to=functions.record "]
)
def test_a_run_of_anything_is_read_in_no_time(run: str) -> None:
    text = f"<b>{run * 20_000}x"
    began = time.perf_counter()
    without_thoughts(text)
    without_thoughts(f"<think>a</think>{text}")
    leaked_call(text)
    assert time.perf_counter() - began < 2.0  # it took ten seconds and more where a pattern looked twice


@pytest.mark.parametrize("word", ["insufficient_system_resource", "network_error", "abort", "cancelled", "time_limit"])
def test_a_word_that_nobody_knows_ends_no_whole_answer(word: str) -> None:
    assert word not in FINISH
    assert ending(word) == "error"


@pytest.mark.parametrize(
    ("word", "means"),
    [
        *((word, "length") for word in ("max_tokens_reached", "OUTPUT_LIMIT", "context_window_exceeded", "incomplete")),
        *((word, "length") for word in ("token limit reached", "lengthCapped", "truncated")),
        *((word, "content_filter") for word in ("BLOCKED", "safety_stop", "ResponseFiltered", "policy_violation")),
        *((word, "error") for word in ("rate_limit", "deadline_exceeded", "max_time", "done_with_it", "stopped", "")),
    ],
)
def test_a_word_on_no_list_says_by_its_parts_that_an_answer_is_cut_or_withheld_never_that_it_is_whole(
    word: str, means: str
) -> None:
    assert ending(word) == means


@pytest.mark.parametrize(
    ("stated", "wanted"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}, (100, 20, 0, 0)),
        # outside: the total says so
        ({"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 520}, (100, 420, 0, 400)),
        # outside, and no total: it cannot be a part of what is smaller
        (
            {"prompt_tokens": 100, "completion_tokens": 20, "completion_tokens_details": {"reasoning_tokens": 400}},
            (100, 420, 0, 400),
        ),
        # inside
        (
            {
                "prompt_tokens": 100,
                "completion_tokens": 420,
                "total_tokens": 520,
                "completion_tokens_details": {"reasoning_tokens": 400},
            },
            (100, 420, 0, 400),
        ),
        ({"prompt_tokens": 100, "total_tokens": 120}, (100, 20, 0, 0)),
        ({"completion_tokens": 20, "total_tokens": 120}, (100, 20, 0, 0)),
        ({"prompt_tokens": 100}, None),
        ({"completion_tokens": 20}, None),
        ({"total_tokens": 20}, None),
        ({}, None),
        # cached reads by their names; what is larger than the whole stands beside it
        ({"prompt_tokens": 100, "completion_tokens": 2, "prompt_cache_hit_tokens": 64}, (100, 2, 64, 0)),
        ({"prompt_tokens": 100, "completion_tokens": 2, "cached_tokens": 64}, (100, 2, 64, 0)),
        ({"prompt_tokens": 36, "completion_tokens": 2, "cached_tokens": 64, "total_tokens": 102}, (100, 2, 64, 0)),
        ({"input_tokens": 100, "output_tokens": 20}, (100, 20, 0, 0)),
    ],
)
def test_usage_is_what_was_used_by_whatever_name(stated: dict, wanted: tuple[int, int, int, int] | None) -> None:
    got = openai_usage(stated)
    assert (
        wanted is None
        if got is None
        else (got.input_tokens, got.output_tokens, got.cached_input_tokens, got.reasoning_tokens) == wanted
    )


def test_a_cache_of_an_hour_is_a_part_of_what_was_written() -> None:
    stated = {"input_tokens": 5, "output_tokens": 1, "cache_creation": {"ephemeral_1h_input_tokens": 7}}
    assert anthropic_usage(stated) == Usage(
        input_tokens=12, output_tokens=1, cache_write_tokens=7, cache_write_1h_tokens=7
    )


def call(text: str = "What is said?", tokens: int = 30, **fields: object) -> Call:
    request, to = ask(text, tokens=tokens), route(**fields)
    asking = Asking.begin(to, openai.DIALECT, strict=False)
    sent = openai.DIALECT.encode(request, to, asking.manner, "")
    return Call(request=request, route=to, manner=asking.manner, asking=asking, sent=sent)


@pytest.mark.parametrize(
    ("text", "tokens", "taken", "cut"),
    [
        ("word " * 6000, 6000, 2050, True),
        ("word " * 6000, 6000, 5400, False),  # other tokenizers have a tenth less
        ("word " * 6000, 6000, 9600, False),
        ("слово " * 6000, 18000, 9000, False),  # a newer tokenizer has half of ours
        ("слово " * 6000, 18000, 2050, True),
        ("word " * 100, 100, 20, False),  # too short to tell
        ("word " * 6000, 0, 20, False),  # nobody counted
        ("word " * 6000, 6000, 0, False),  # the service did not count
    ],
)
def test_a_service_that_read_less_than_it_was_sent_is_seen(text: str, tokens: int, taken: int, cut: bool) -> None:
    assert cut_short(Usage(input_tokens=taken, output_tokens=1), call(text, tokens)) == cut


def test_a_service_that_states_no_tokens_for_the_schema_read_all_it_was_sent() -> None:
    given = call("word " * 250, 530)
    schema = '{"type": "object"}' + " " * 1000
    wide = replace(given, request=replace(given.request, schema=schema))
    assert not cut_short(Usage(input_tokens=250, output_tokens=1), wide)
    long = replace(
        given, request=replace(given.request, schema=schema, messages=ask("word " * 6000).messages, tokens=6280)
    )
    assert cut_short(Usage(input_tokens=2050, output_tokens=1), long)
