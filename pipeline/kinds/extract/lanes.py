"""Who is asked for what about the same chunks: each voice of a vote, each group of fields of a wide schema.

The messages are the same for all groups, only the schema of the answer differs, and the groups of a chunk are asked
side by side: a service that caches what comes first has the text in its cache. A group is a run of fields in the order
of the schema, so that a subtree stays together as far as it goes; a list is never divided. What the groups answer
becomes one record by the rules that unite chunks: objects merge field by field.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import ceil
from typing import Any, TypeAlias

import orjson
from docreduce.kinds.extract.expecting import FIELD_TOKENS, leaf_count
from docreduce.kinds.extract.paths import EVIDENCE
from docreduce.kinds.extract.prompts import prefix
from docreduce.kinds.extract.schema import Extraction, compile_extraction
from docreduce.kinds.extract.walking import elements, is_open
from docreduce.kinds.plan import Plan
from docreduce.values import Message
from docreduce.values.errors import JobError

__all__ = ["Asked", "Lane", "asked_for", "lanes"]

Path: TypeAlias = tuple[str, ...]

TOO_WIDE = 2
"""Times an answer that a record with every field filled comes to, from which on "auto" divides the schema: a chunk
seldom fills more than half of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What stands before the text in every request of one form, the answer's schema, and the tokens of both."""

    messages: tuple[Message, ...]
    schema: str
    overhead_tokens: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """One of those that are asked about every chunk: its `number` from 0, the model of a vote that is asked, and how;
    `schema` is that of its answers."""

    number: int
    voice: str
    asked: Asked
    schema: str


def asked_for(extraction: Extraction, plan: Plan, *, rows: bool = False) -> Asked:
    """How `extraction` is asked for."""
    schema = extraction.rows_schema if rows else extraction.schema
    messages = prefix(
        plan.system,
        extraction.table.instructions,
        cardinality=extraction.table.cardinality,
        examples=extraction.examples,
        rows=rows,
    )
    return Asked(messages=messages, schema=schema, overhead_tokens=plan.overhead_tokens(messages, schema))


def lanes(extraction: Extraction, plan: Plan) -> list[Lane]:
    """All who are asked. Raises JobError for a vote or a division that cannot be made."""
    table = extraction.table
    voices = table.vote or [""]
    for voice in table.vote or ():
        if plan.models and voice not in plan.models:
            raise JobError(
                f"extract.vote: {voice!r} is no route's model ({', '.join(plan.models)})",
                hint="Give each model of a vote as [model] or a [[model.fallback]].",
            )
    if table.vote and len(set(plan.models)) == 1:
        raise JobError("extract.vote: there is one route only", hint="Add a [[model.fallback]] for each other model.")
    parts = _parts(extraction, plan)
    made = [(voice, asked_for(part, plan), part.schema) for voice in voices for part in parts]
    return [
        Lane(number=number, voice=voice, asked=asked, schema=schema)
        for number, (voice, asked, schema) in enumerate(made)
    ]


def _parts(extraction: Extraction, plan: Plan) -> list[Extraction]:
    table, item = extraction.table, orjson.loads(extraction.item_schema)
    wanted = table.split_fields
    if wanted is None:
        return [extraction]
    if table.cardinality == "many" and not table.key:
        if wanted == "auto":
            return [extraction]
        raise JobError(
            'extract.split_fields: with cardinality = "many" the parts of an item are found by extract.key',
            hint="Name the fields that tell two items apart as extract.key.",
        )
    total = leaf_count(item)
    if wanted == "auto":
        wanted = max(1, plan.max_output_tokens // FIELD_TOKENS)
        if total <= TOO_WIDE * wanted:
            return [extraction]
    groups = _groups([unit for unit in _units(item) if unit[0][0] not in table.key], wanted)
    if len(groups) < 2:
        return [extraction]
    keyed = [(path, 0) for path in ((name,) for name in table.key if name in item["properties"])]
    return [_part(extraction, item, [path for path, _ in (*keyed, *group)]) for group in groups]


def _units(schema: Any, path: Path = ()) -> Iterator[tuple[Path, int]]:
    """What is not divided: a field that holds a value, or a list, with how many fields it has."""
    fields = _plain_members(schema)
    if path and (elements(schema) is not None or not fields or is_open(schema)):
        yield path, leaf_count(schema)
        return
    for name, inner in fields.items():
        yield from _units(inner, (*path, name))


def _plain_members(schema: Any) -> Mapping[str, Any]:
    """The fields of an object that says nothing else of itself: one of alternatives is not divided."""
    if not isinstance(schema, Mapping) or schema.keys() & {"anyOf", "oneOf", "allOf", "not", "if"}:
        return {}
    found = schema.get("properties")
    return found if isinstance(found, Mapping) else {}


def _groups(units: Sequence[tuple[Path, int]], most: int) -> list[list[tuple[Path, int]]]:
    """`units` in groups of at most `most` fields (a larger list alone), in the schema's order, as few as can be: what
    in that order would take more than the least possible is packed the largest first (first-fit decreasing)."""
    in_order: list[list[tuple[Path, int]]] = []
    room = 0
    for unit in units:
        if not in_order or unit[1] > room:
            in_order.append([])
            room = most
        in_order[-1].append(unit)
        room -= unit[1]
    if len(in_order) <= ceil(sum(size for _, size in units) / most):
        return in_order
    packed: list[list[tuple[Path, int]]] = []
    rooms: list[int] = []
    for unit in sorted(units, key=lambda each: -each[1]):
        at = next((place for place, left in enumerate(rooms) if left >= unit[1]), None)
        if at is None:
            packed.append([])
            rooms.append(most)
            at = len(rooms) - 1
        packed[at].append(unit)
        rooms[at] -= unit[1]
    return packed if len(packed) < len(in_order) else in_order


def _part(extraction: Extraction, item: Mapping[str, Any], paths: Sequence[Path]) -> Extraction:
    """The extraction of the fields at `paths` alone."""
    schema = _only(item, set(paths))
    table = extraction.table.model_copy(update={"schema_": schema, "examples": None, "gold": None, "accept": None})
    part = compile_extraction(table)
    tops = {path[0] for path in paths}
    examples = []
    for text, items in extraction.examples:
        kept = [{name: value for name, value in one.items() if name in tops} for one in orjson.loads(items)]
        quotes = [one.get(EVIDENCE) or {} for one in orjson.loads(items)]
        for one, evidence in zip(kept, quotes, strict=True):
            one[EVIDENCE] = {key: words for key, words in evidence.items() if key.split(".")[0].split("[")[0] in tops}
        examples.append((text, orjson.dumps(kept).decode()))
    return replace(part, examples=tuple(examples))


def _only(schema: Mapping[str, Any], paths: set[Path]) -> dict[str, Any]:
    """`schema` with the fields at `paths` and what they lie in."""
    heads = {path[0]: {other[1:] for other in paths if other[0] == path[0]} for path in paths}
    properties = {
        name: inner if () in heads[name] else _only(inner, heads[name])
        for name, inner in schema["properties"].items()
        if name in heads
    }
    return {**schema, "properties": properties, "required": [n for n in schema.get("required", ()) if n in properties]}
