"""Lists longer than an answer: every row is found once, from a service that truncates, loops, drops and leaves out."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import driving
import pytest
from docreduce.config import parse_job
from docreduce.engine.forecast import Estimator
from docreduce.engine.session import open_session
from docreduce.kinds.extract.continuing import complete_items
from docreduce.kinds.extract.expecting import Expectation
from docreduce.kinds.steps import Cutter
from docreduce.text.tokens import tokenizer
from docreduce.values import Cause, Completion, Failure, Outcome, Request, Result, Usage
from driving_extract import document, drive, plan, settings

ROW = {
    "type": "object",
    "properties": {
        "part": {"type": "string"},
        "name": {"type": "string"},
        "quantity": {"type": "integer"},
        "price": {"type": "number"},
    },
}
NAMES = ("Bolt M8", "Nut M8", "Washer", "Rivet 4 mm", "Clamp", "Seal ring", "Bracket", "Hinge")
COUNT = tokenizer("o200k_base").count
_LINE = {
    "markdown": re.compile(r"\| (P-\d+) \| ([^|]+) \| (\d+) \| ([\d.]+) \|"),
    "tabs": re.compile(r"(P-\d+)\t([^\t]+)\t(\d+)\t([\d.]+)"),
    "prose": re.compile(r"Of part (P-\d+), (?:a|the) ([^,]+), there are (\d+) in stock at ([\d.]+) each\."),
}
_FORM = {
    "markdown": "| {} | {} | {} | {:.2f} |\n",
    "tabs": "{}\t{}\t{}\t{:.2f}\n",
    "prose": "Of part {}, a {}, there are {} in stock at {:.2f} each. ",
}
_HEAD = {
    "markdown": "| Part | Name | Qty | Price |\n|---|---|---|---|\n",
    "tabs": "Part\tName\tQty\tPrice\n",
    "prose": "",
}


def table(rows: int, form: str = "markdown", seed: int = 0, twice: bool = True) -> tuple[str, list[dict[str, Any]]]:
    """A text with a table of so many rows, a few of them twice, and what stands in them."""
    draw = random.Random(seed)
    planted = []
    for number in range(rows):
        row = (f"P-{10_000 + number}", draw.choice(NAMES), draw.randrange(1, 900), draw.randrange(100, 99_999) / 100)
        planted.append(planted[-1] if twice and number and number % 97 == 0 else row)
    text = f"Stock list of the warehouse.\n\n{_HEAD[form]}" + "".join(_FORM[form].format(*row) for row in planted)
    return text + "\n\nCounted by hand.", [dict(zip(ROW["properties"], row, strict=True)) for row in planted]


class Hostile:
    """Answers every row of the text it is shown, until its limit; now and then it loops, refuses or leaves rows out."""

    def __init__(self, form: str, limit: int, *, loops: float = 0.0, drops: float = 0.0, omits: float = 0.0) -> None:
        self.line, self.limit = _LINE[form], limit
        self.loops, self.drops, self.omits = loops, drops, omits
        self.draw = random.Random(1)
        self.calls = self.cut = self.looped = 0

    def __call__(self, request: Request) -> Outcome:
        self.calls += 1
        if self.draw.random() < self.drops:
            return Failure(key=request.key, cause=Cause.SERVER_ERROR, message="dropped")
        items = [self.item(match) for match in self.line.finditer(request.messages[-1].content)]
        listed = " ".join(message.content for message in request.messages[1:-1])
        items = [item for item in items if self.draw.random() >= self.omits and f'"{item["part"]}"' not in listed]
        if items and self.draw.random() < self.loops:
            at = self.draw.randrange(len(items))
            items = [*items[: at + 1], *[items[at]] * 500]
            self.looped += 1
        text = json.dumps({"items": items})
        finish = "stop"
        if COUNT(text) > self.limit:
            text, finish = tokenizer("o200k_base").truncate(text, self.limit), "length"
            self.cut += 1
        usage = Usage(input_tokens=1, output_tokens=1)
        return Completion(key=request.key, text=text, finish_reason=finish, usage=usage)  # type: ignore[arg-type]

    @staticmethod
    def item(match: re.Match[str]) -> dict[str, Any]:
        part, name, quantity, price = match.groups()
        values = {"part": part, "name": name, "quantity": int(quantity), "price": float(price)}
        return {**values, "evidence": {"part": match.group().strip()}}


def found(result: Result) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ROW["properties"]} for row in result.tables["records"]]


def bag(rows: Iterable[dict[str, Any]]) -> Counter[str]:
    return Counter(json.dumps(row) for row in rows)


@pytest.mark.long
@pytest.mark.parametrize("form", _FORM)
@pytest.mark.parametrize(("rows", "limit"), [(25, 1000), (300, 1000), (3000, 4000), (300, 400)])
@pytest.mark.parametrize(("loops", "overlap"), [(0.0, 0), (0.3, 0), (0.3, None)])
def test_every_row_of_a_long_table_is_found_once_from_a_service_that_truncates_and_loops(
    form: str, rows: int, limit: int, loops: float, overlap: int | None
) -> None:
    text, planted = table(rows, form)
    service = Hostile(form, limit, loops=loops)
    small = plan(input_tokens=8_000, max_output_tokens=limit, overlap_tokens=overlap)
    (result,), asked = drive([document(text)], small, settings(ROW, cardinality="many"), service)
    assert bag(found(result)) - bag(planted) == Counter(), "doubled or invented"
    assert bag(planted) - bag(found(result)) == Counter(), "lost"
    assert found(result) == planted
    assert result.status == "ok"
    assert bool(result.counts.get("repeating_answers")) == bool(service.looped)
    least = sum(COUNT(json.dumps(Hostile.item(match))) for match in _LINE[form].finditer(text)) / limit
    assert len(asked) <= (8 if loops else 3) * least + 3


@pytest.mark.long
@pytest.mark.parametrize("overlap", [0, None])
@pytest.mark.parametrize(
    ("form", "rows", "limit"), [("markdown", 300, 1000), ("tabs", 3000, 4000), ("prose", 300, 400)]
)
def test_a_list_inside_the_one_record_of_a_document_is_as_whole(
    form: str, rows: int, limit: int, overlap: int | None
) -> None:
    text, planted = table(rows, form)
    schema = {"type": "object", "properties": {"lines": {"type": "array", "items": ROW}}}

    def answer(request: Request) -> Outcome:
        seen = list(_LINE[form].finditer(request.messages[-1].content))
        lines = [{name: Hostile.item(match)[name] for name in ROW["properties"]} for match in seen]
        item = {"lines": lines, "evidence": {"lines": [match.group().strip() for match in seen]}}
        words = json.dumps({"items": [item] if seen else []})
        cut = COUNT(words) > limit
        usage = Usage(input_tokens=1, output_tokens=1)
        words = tokenizer("o200k_base").truncate(words, limit)
        return Completion(key=request.key, text=words, finish_reason="length" if cut else "stop", usage=usage)

    small = plan(input_tokens=8_000, max_output_tokens=limit, overlap_tokens=overlap)
    (result,), _ = drive([document(text)], small, settings(schema), answer)
    assert result.status == "ok"
    lines = [{name: line[name] for name in ROW["properties"]} for line in result.tables["records"][0]["lines"]]
    assert bag(lines) == bag(planted)


@pytest.mark.long
def test_no_hostile_service_passes_the_estimates_ceiling() -> None:
    text, _ = table(400)
    job = {
        "name": "n",
        "kind": "extract",
        "input": {"paths": ["x"]},
        "model": {"provider": "openai", "name": "m", "context_window": 9_000, "base_url": "http://127.0.0.1:1/v1"},
        "pricing": {"mode": "per_call", "usd_per_call": 0.1},
        "extract": {"schema": ROW, "cardinality": "many", "passes": 2},
    }
    session = open_session(parse_job(job))
    estimator = Estimator(session)
    estimator.add([document(text)], [], [])
    ceiling = estimator.as_dict()
    for seed, loops in enumerate((0.0, 0.3, 0.9)):
        service = Hostile("markdown", 1000, loops=loops, omits=0.1)
        service.draw = random.Random(seed)
        _, asked = driving.drive(session.work, [document(text)], service)
        paid = sum(request.tokens for request in asked)
        assert len(asked) <= ceiling["calls"]["ceiling"]
        assert paid <= ceiling["input_tokens"]["ceiling"]


def test_what_a_service_drops_is_named_and_nothing_else_is_lost() -> None:
    text, planted = table(600)
    service = Hostile("markdown", 1000, drops=0.15)
    (result,), _ = drive(
        [document(text)], plan(input_tokens=8_000, max_output_tokens=1000), settings(ROW, cardinality="many"), service
    )
    assert result.status == "partial"
    failed = [each.chunk.span for each in result.chunks if each.status == "failed"]
    assert failed
    missing = bag(planted) - bag(found(result))
    for row in map(json.loads, missing):
        at = text.index(f"| {row['part']} ")
        assert any(span.start <= at < span.end for span in failed), "lost without a word"
    assert not bag(found(result)) - bag(planted)


@pytest.mark.long
def test_rows_that_a_service_leaves_out_are_found_in_further_passes_with_what_they_cost() -> None:
    text, planted = table(200, twice=False)
    service = Hostile("markdown", 2000, omits=0.2)
    many = {"cardinality": "many"}
    wide = plan(input_tokens=8_000, max_output_tokens=2000)
    (once,), _ = drive([document(text)], wide, settings(ROW, **many), service)
    (thrice,), asked = drive([document(text)], wide, settings(ROW, passes=3, **many), service)
    assert 0.7 < len(found(once)) / len(planted) < 0.9
    assert len(found(thrice)) / len(planted) > 0.97
    assert not bag(found(thrice)) - bag(planted)
    passes = [request for request in asked if request.stage == "pass"]
    assert thrice.counts["passes_calls"] == len(passes)
    assert thrice.counts["passes_values"] > 100
    assert all(request.messages[-1].content in text for request in passes)


def test_passes_end_where_nothing_new_comes() -> None:
    text, planted = table(100, twice=False)
    service = Hostile("markdown", 4000)
    (result,), asked = drive(
        [document(text)],
        plan(input_tokens=8_000, max_output_tokens=4000),
        settings(ROW, cardinality="many", passes=3),
        service,
    )
    first = [request for request in asked if request.stage == "map"]
    assert found(result) == planted
    assert len(asked) == 2 * len(first)
    assert result.counts["passes_values"] == 0


def test_an_answer_that_always_breaks_off_costs_no_more_than_its_halvings() -> None:
    text, _ = table(200)
    asked: list[Request] = []

    def broken(request: Request) -> Outcome:
        asked.append(request)
        usage = Usage(input_tokens=1, output_tokens=1)
        items = [Hostile.item(match) for match in _LINE["markdown"].finditer(request.messages[-1].content)][:2]
        text = json.dumps({"items": items})[:-2] + ', {"part": "P-'
        return Completion(key=request.key, text=text, finish_reason="length", usage=usage)

    small = plan(input_tokens=8_000, max_output_tokens=1000)
    extraction = settings(ROW, cardinality="many")
    (result,), _ = drive([document(text)], small, extraction, broken)
    assert (result.status, result.error_kind) == ("partial", "cut")
    room = Cutter(small), 4_000
    assert len(asked) <= 15 * len(Expectation(extraction, small).chunks(document(text), *room))


@pytest.mark.parametrize(
    ("answer", "whole"),
    [
        ('{"items": [{"a": 1}, {"a": 2}, {"a"', ['{"a": 1}', '{"a": 2}']),
        ('{"items": [{"a": 1}, {"a": 2', ['{"a": 1}']),
        ('```json\n{"items":[{"a": "x}{"},{"b":', ['{"a": "x}{"}']),
        ('[{"a": [{"c": 1}, {"c": 2', []),
        ('{"items": [', []),
        ('{"rows": [{"a": 1}, ', []),
        ("I cannot", []),
        ("", []),
    ],
)
def test_of_a_broken_answer_only_what_is_closed_is_read(answer: str, whole: list[str]) -> None:
    assert list(complete_items(answer)) == whole


def test_a_divided_table_has_its_header_told_before_the_text() -> None:
    text, planted = table(120)
    (result,), asked = drive(
        [document(text)],
        plan(input_tokens=8_000, max_output_tokens=1000),
        settings(ROW, cardinality="many"),
        Hostile("markdown", 1000),
    )
    shown = {request.messages[-1].content: request for request in asked}
    later = [request for words, request in shown.items() if "P-" in words and "Qty" not in words]
    assert later
    assert all("| Part | Name | Qty | Price |" in request.messages[1].content for request in later)
    assert all(request.messages[-1].content in text for request in asked)
    assert found(result) == planted
