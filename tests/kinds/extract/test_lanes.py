"""Wide schemas in groups of fields, and votes of several models: one record, few calls, the text alone and last."""

from __future__ import annotations

import json
from math import ceil
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import parse_job
from docreduce.engine.session import open_session
from docreduce.kinds.extract.lanes import lanes
from docreduce.values import Completion, Outcome, Request, Usage
from docreduce.values.errors import JobError
from driving_extract import PARTY, document, drive, plan, raw, rows, settings


def wide(fields: int, lists: int = 0) -> dict[str, Any]:
    """A schema of so many fields in subtrees of ten, and lists of objects with six fields beside them."""
    names = [f"f{number}" for number in range(fields)]
    trees = {
        f"part{at}": {"type": "object", "properties": {name: {"type": "string"} for name in names[at : at + 10]}}
        for at in range(0, fields, 10)
    }
    element = {"type": "object", "properties": {f"e{number}": {"type": "string"} for number in range(6)}}
    arrays = {f"list{number}": {"type": "array", "items": element} for number in range(lists)}
    return {"type": "object", "properties": {**trees, **arrays}}


def leaves(value: Any) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in value.values():
        if isinstance(part, dict):
            found |= {name: each for name, each in part.items() if each is not None}
    return found


def answering(text: str) -> Any:
    """Gives every field it is asked for that stands in the text as "name: value"."""
    said = dict(line.split(": ") for line in text.splitlines() if ": " in line)

    def answer(request: Request) -> Outcome:
        item_schema = json.loads(request.schema or "")["properties"]["items"]["items"]
        item: dict[str, Any] = {"evidence": {}}
        for tree, schema in item_schema["properties"].items():
            if tree == "evidence" or "properties" not in schema:
                continue
            item[tree] = {name: said.get(name) for name in schema["properties"]}
            item["evidence"] |= {f"{tree}.{name}": f"{name}: {said[name]}" for name in item[tree] if name in said}
        return raw(json.dumps({"items": [item]}))(request)

    return answer


@pytest.mark.parametrize(("fields", "per_group"), [(369, 40), (100, 7), (60, 60), (61, 60), (30, 1)])
def test_a_wide_schema_is_asked_for_in_groups_and_becomes_one_record(fields: int, per_group: int) -> None:
    text = "\n".join(f"f{number}: v{number}" for number in range(fields))
    (result,), asked = drive([document(text)], plan(), settings(wide(fields), split_fields=per_group), answering(text))
    (record,) = result.tables["records"]
    assert leaves(record) == {f"f{number}": f"v{number}" for number in range(fields)}
    assert result.status == "ok"
    assert len(asked) <= 1.05 * ceil(fields / per_group)
    assert all(request.messages[-1].content == text for request in asked)
    assert len({request.messages for request in asked}) == 1, "one prefix, for the service's cache"
    chosen = [row for row in result.tables["evidence"] if row["chosen"]]
    assert len(chosen) == fields
    assert not any(row["conflict"] for row in chosen)


@pytest.mark.parametrize(("fields", "lists", "per_group"), [(90, 5, 12), (10, 9, 12), (40, 3, 10)])
def test_lists_are_not_divided_and_groups_are_few(fields: int, lists: int, per_group: int) -> None:
    every = lanes(settings(wide(fields, lists), split_fields=per_group), plan())
    held = [json.loads(lane.schema)["properties"]["items"]["items"]["properties"] for lane in every]
    assert sum(f"list{number}" in each for each in held for number in range(lists)) == lists
    assert len(every) <= 1.05 * ceil((fields + 6 * lists) / per_group) + (per_group < 12)


def test_auto_divides_only_what_no_answer_holds() -> None:
    assert len(lanes(settings(wide(40), split_fields="auto"), plan(max_output_tokens=1_000))) == 1
    assert len(lanes(settings(wide(369), split_fields="auto"), plan(max_output_tokens=4_000))) == 4
    assert len(lanes(settings(wide(369)), plan(max_output_tokens=4_000))) == 1


def test_items_of_a_division_are_joined_by_their_key() -> None:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in ("id", "a", "b")}}
    found = {"x1": ("p", "q"), "x2": ("r", "s")}
    text = "\n".join(f"{key} has {a} and {b}" for key, (a, b) in found.items())

    def answer(request: Request) -> Outcome:
        wanted = json.loads(request.schema or "")["properties"]["items"]["items"]["properties"]
        items = []
        for line in text.splitlines():
            key, _, a, _, b = line.split()
            values = {"id": key, "a": a, "b": b}
            items.append({name: values[name] for name in wanted if name in values} | {"evidence": {"id": line}})
        return raw(json.dumps({"items": items}))(request)

    extraction = settings(schema, cardinality="many", key=["id"], split_fields=1)
    (result,), asked = drive([document(text)], plan(), extraction, answer)
    assert len(asked) == 2
    assert [(row["id"], row["a"], row["b"]) for row in result.tables["records"]] == [
        (key, a, b) for key, (a, b) in found.items()
    ]


def test_a_vote_asks_each_model_once_a_chunk_and_the_majority_stands() -> None:
    said = {"one": "Acme", "two": "Beta", "three": "Beta"}

    def answer(request: Request) -> Outcome:
        item = {"party": said[request.voice], "evidence": {"party": said[request.voice]}}
        usage = Usage(input_tokens=1, output_tokens=1)
        return Completion(
            key=request.key, text=json.dumps({"items": [item]}), finish_reason="stop", usage=usage, model=request.voice
        )

    text = "Acme and Beta sign."
    voices = plan(models=tuple(said))
    (result,), asked = drive([document(text)], voices, settings(vote=list(said)), answer)
    assert [request.voice for request in asked] == list(said)
    assert result.tables["records"][0]["party"] == "Beta"
    rows = {row["value"]: row for row in result.tables["evidence"]}
    assert rows['"Beta"']["support"] == 2
    assert rows['"Beta"']["conflict"]
    assert not rows['"Acme"']["chosen"]
    assert [chunk.model for chunk in result.chunks] == list(said)


def test_one_of_a_vote_that_fails_makes_the_document_partial_and_the_others_stand() -> None:
    def answer(request: Request) -> Outcome:
        if request.voice == "one":
            return raw("no")(request)
        return raw(json.dumps({"items": [{"party": "Acme", "evidence": {"party": "Acme"}}]}))(request)

    (result,), _ = drive(
        [document("Acme")], plan(models=("one", "two")), settings(vote=["one", "two"], max_repairs=0), answer
    )
    assert (result.status, result.error_kind) == ("partial", "invalid_output")
    assert result.tables["records"][0]["party"] == "Acme"


WRONG = [
    ({"vote": ["one", "other"]}, ("one", "two"), "'other' is no route's model"),
    ({"vote": ["one", "two"]}, ("one",), "'two' is no route's model"),
    ({"split_fields": 1, "cardinality": "many"}, (), "extract.key"),
    ({"split_fields": 1, "rows_per_request": 5}, (), "rows share no request"),
]


@pytest.mark.parametrize(("table", "models", "said"), WRONG)
def test_what_cannot_be_asked_so_is_refused_with_the_key(
    table: dict[str, Any], models: tuple[str, ...], said: str
) -> None:
    with pytest.raises(JobError, match=said):
        drive([document("Acme")], plan(models=models), settings(PARTY, **table), raw("no"))


def test_a_vote_with_one_route_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    job = {
        "name": "n",
        "kind": "extract",
        "input": {"paths": ["x"]},
        "model": {"provider": "openai", "name": "a", "context_window": 8_000, "base_url": "http://127.0.0.1:1/v1"},
        "pricing": {"mode": "per_call", "usd_per_call": 0.1},
        "extract": {"schema": PARTY, "vote": ["a", "b"]},
    }
    with pytest.raises(JobError, match=r"extract\.vote: 'b' is no route's model"):
        open_session(parse_job(job))
    with pytest.raises(JobError, match="vote"):
        parse_job({**job, "extract": {"schema": PARTY, "vote": ["a"]}})
    with pytest.raises(JobError, match="named twice"):
        parse_job({**job, "extract": {"schema": PARTY, "vote": ["a", "a"]}})


def test_packing_is_for_five_rows_of_a_small_model_and_ten_of_others() -> None:
    def most(*models: str) -> int:
        from docreduce.kinds.extract import KIND

        pack = KIND.prepare(settings(rows_per_request="auto").table, plan(models=models)).pack
        return pack.max_rows if pack else 1

    assert most("qwen2.5-7b-instruct") == 5
    assert most("llama-3.1-8b") == 5
    assert most("baidu-ernie-4.5-21b-a3b") == 10
    assert most("gpt-4o") == 10
    assert most("gpt-4o", "llama-3.2-1b") == 5
    assert len(rows("a", "b")) == 2


def test_context_stands_before_the_text_and_is_marked_as_no_evidence() -> None:
    text = "\n\n".join(f"Paragraph {number} names nobody at all." for number in range(60))
    (result,), asked = drive(
        [document(text)], plan(max_chunk_tokens=200, context_tokens=20), settings(), raw('{"items":[]}')
    )
    assert "".join(request.messages[-1].content for request in asked) == text
    assert len(asked[0].messages) == 2
    for request in asked[1:]:
        told = request.messages[1].content
        assert "extract nothing from it" in told
        assert told.rpartition("\n")[2] in text
        assert plan().tokenizer.count(told) <= 20 + 40
        assert request.messages[2].role == "assistant"
    assert result.status == "ok"
