"""Documents whose every value's place is known, cut anywhere, answered chunk by chunk with what stands in it whole."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from typing import Any, TypeAlias

import pytest
from docreduce.kinds.extract.answers import read_items
from docreduce.kinds.extract.merge import merge
from docreduce.kinds.extract.paths import Path, leaves, shown
from docreduce.kinds.extract.placing import place
from docreduce.values import Span
from driving_extract import settings

TEXT, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
NAMES = ["Aldo", "Berta", "Cesar", "Dora", "Emil", "Frida", "Gustav", "Hella", "Igor", "Jana", "Karl", "Lena"]
FILLERS = ["The parties have read this.", "See the annex for details.", "Nothing here changes what stands before."]
Stands: TypeAlias = dict[Path, tuple[Any, int, int]]


class Writing:
    """A text as it is written, and where in it each value of its gold record stands."""

    def __init__(self) -> None:
        self.text = ""
        self.stands: Stands = {}

    def say(self, words: str) -> Writing:
        self.text += words
        return self

    def tell(self, path: Path, value: Any) -> Writing:
        self.stands[path] = value, len(self.text), len(self.text) + len(str(value))
        return self.say(str(value))


def fields(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def listed(schema: Any) -> dict[str, Any]:
    return {"type": "array", "items": schema}


HANDBOOK = fields(
    chapters=listed(
        fields(
            title=TEXT,
            sections=listed(
                fields(title=TEXT, steps=listed(fields(step=INTEGER, do=TEXT)), warnings=listed(TEXT)),
            ),
        )
    )
)
INVOICES = fields(
    invoices=listed(
        fields(number=TEXT, date=TEXT, lines=listed(fields(pos=INTEGER, article=TEXT, qty=INTEGER, price=NUMBER)))
    )
)


def handbook(rng: random.Random) -> Writing:
    """Sections that are called alike in every chapter, steps that are numbered alike in every section."""
    made = Writing().say("# Handbook\n\n")
    for chapter in range(5):
        at: Path = ("chapters", chapter)
        made.say(f"## Chapter {chapter + 1} ").tell((*at, "title"), f"{NAMES[chapter]}kunde").say("\n\n")
        for section in range(4):
            inner = (*at, "sections", section)
            made.say(f"### {chapter + 1}.{section + 1} ").tell((*inner, "title"), f"{NAMES[-section - 1]}werk")
            made.say("\n\n")
            for step in range(rng.randint(2, 5)):
                do = f"turn the {rng.choice(['knob', 'wheel'])} {rng.choice(NAMES[:6])} to {rng.randint(2, 9)}"
                made.tell((*inner, "steps", step, "step"), step + 1).say(". ")
                made.tell((*inner, "steps", step, "do"), do).say("\n")
            if section % 2:
                made.say("\nWarning: ").tell((*inner, "warnings", 0), f"Beware of {rng.choice(NAMES[:8])} heat")
                made.say("\n")
            made.say(f"\n{' '.join(rng.choices(FILLERS, k=3))}\n\n")
    return made


def invoices(rng: random.Random) -> Writing:
    """Lines that are numbered alike in every invoice, and articles that come again."""
    made = Writing().say("# Invoices\n\n")
    for number in range(4):
        at: Path = ("invoices", number)
        made.say("Invoice ").tell((*at, "number"), f"INV-{4100 + number * 13}").say(" of ")
        made.tell((*at, "date"), f"2024-0{number % 9 + 1}-1{number % 9}").say("\n\n| pos | article | qty | price |\n")
        for pos in range(rng.randint(2, 9)):
            inner = (*at, "lines", pos)
            made.say("| ").tell((*inner, "pos"), pos + 1).say(" | ")
            made.tell((*inner, "article"), f"{rng.choice(['bolt', 'nut'])} M{rng.randint(3, 12)}").say(" | ")
            made.tell((*inner, "qty"), rng.randint(1, 40)).say(" | ")
            made.tell((*inner, "price"), rng.randint(100, 9999) / 100 + 0.005).say(" |\n")
        made.say(f"\n{' '.join(rng.choices(FILLERS, k=3))}\n\n")
    return made


def built(stands: Stands) -> tuple[Any, dict[Path, Path]]:
    """The record of these values, lists without holes; and where each of them is in it."""
    root: dict[Any, Any] = {}
    for path, (value, _, _) in stands.items():
        node = root
        for step in path[:-1]:
            node = node.setdefault(step, {})
        node[path[-1]] = value
    moved: dict[Path, Path] = {}

    def close(node: Any, old: Path, new: Path) -> Any:
        if not isinstance(node, dict):
            moved[old] = new
            return node
        if node and all(isinstance(step, int) for step in node):
            return [close(node[step], (*old, step), (*new, at)) for at, step in enumerate(sorted(node))]
        return {name: close(part, (*old, name), (*new, name)) for name, part in node.items()}

    return close(root, (), ()), moved


def answered(made: Writing, span: Span, quoting: str) -> dict[str, Any]:
    """What stands whole in the chunk, with the line or the value itself as its words."""
    inside = {path: each for path, each in made.stands.items() if span.start <= each[1] and each[2] <= span.end}
    record, moved = built(inside)
    quotes = {}
    for path, (_, start, end) in inside.items():
        words = made.text[start:end]
        if quoting == "line":
            after = made.text.find("\n", end, span.end)
            words = made.text[max(made.text.rfind("\n", span.start, start) + 1, span.start) : max(after, end)]
        quotes[shown(moved[path])] = words.strip()
    return {**record, "evidence": quotes}


def cuts(text: str, size: int, overlap: int) -> Iterator[Span]:
    """Chunks of about `size`, whole lines, of which each begins `overlap` before the end of the last."""
    start = 0
    while start < len(text):
        end = text.rfind("\n", start + 1, start + size) + 1 if start + size < len(text) else len(text)
        yield Span(start, end)
        if end == len(text):
            return
        start = max(text.rfind("\n", start, max(end - overlap, start + 1)) + 1, start + 1) if overlap else end


@pytest.mark.parametrize("quoting", ["line", "value"])
@pytest.mark.parametrize("overlap", [0, 120])
@pytest.mark.parametrize("size", [350, 800, 2500])
@pytest.mark.parametrize(("write", "schema"), [(handbook, HANDBOOK), (invoices, INVOICES)])
def test_whatever_the_cuts_all_comes_back_at_its_place(write, schema, size, overlap, quoting):
    for seed in range(4):
        made = write(random.Random(seed))
        asked = settings(schema)
        found = []
        for number, span in enumerate(cuts(made.text, size, overlap)):
            read = read_items(json.dumps({"items": [answered(made, span, quoting)]}), asked.schema)
            found += place(read, made.text, chunk=number, span=span)
        (record,) = merge(found, asked).records
        gold, _ = built(made.stands)
        given = {path: value for path, value in leaves(record) if value is not None}
        assert given == dict(leaves(gold)), (seed, size, overlap)
