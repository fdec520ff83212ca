"""How long an answer is to be expected, from the text it is about: the answer is the narrow pipe of a long list.

A row of a table or of a list is an item; running text has an item now and then. An item's answer holds its words twice,
as values and as evidence, and the names of its fields twice.
"""

from __future__ import annotations

from math import ceil
from typing import Any

import orjson
import regex
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.walking import elements, members
from docreduce.kinds.pieces import in_pieces
from docreduce.kinds.plan import Plan
from docreduce.kinds.steps import Cutter
from docreduce.values import Chunk, Document

__all__ = ["FIELD_TOKENS", "ITEM_TOKENS", "Expectation", "leaf_count"]

ITEM_TOKENS = 25
FIELD_TOKENS = 40
"""Expected answer: an item's brackets and names, a field's value and quote. A cut answer halves its rows."""
NAME_TOKENS = 12
"""A field's name, quotes, colon and comma, twice: 11 to 14 in the o200k vocabulary for names of one or two words."""
ITEMS_A_THOUSAND = 2
"""Items in 1,000 tokens of running text: a contract's clauses, a report's figures. Rows are counted."""
ANSWER_FILL = 0.8
"""Of the longest answer, how much is planned to be used: lists are not evenly dense."""
_ROW = r"[^\S\n]*+(?=[^\n]{3,400}\n)(?=[^\n]*\d|[-*•–|]|[^\n]*[|\t])[^\n]*+\n"
_ROWS = regex.compile(rf"(?m)^(?:{_ROW}){{3,}}")
"""Three lines or more, one under the other, that each have a digit, a cell's border or a list's mark."""


class Expectation:
    """What the answers of an extraction come to. `fields` are those of an item, `list_fields` those of one element of
    its longest list, the items themselves with cardinality many; 0 where there is none."""

    def __init__(self, extraction: Extraction, plan: Plan) -> None:
        item = orjson.loads(extraction.item_schema)
        many = extraction.table.cardinality == "many"
        self.fields = leaf_count(item)
        self.list_fields: int = leaf_count(item) if many else max(_list_fields(item), default=0)
        self._plan = plan
        self._room = max(1, int(plan.max_output_tokens * ANSWER_FILL))

    @property
    def item_tokens(self) -> int:
        """Of the answer for one element."""
        return ITEM_TOKENS + FIELD_TOKENS * self.list_fields

    def budget(self, budget: int) -> int:
        """Tokens of a chunk of running text whose answer has room; `budget` where no list is asked for."""
        if not self.list_fields:
            return budget
        return max(1, min(budget, self._room * 1000 // (ITEMS_A_THOUSAND * self.item_tokens)))

    def chunks(self, document: Document, cutter: Cutter, budget: int) -> list[Chunk]:
        """The document's chunks, those whose rows' answer has no room in pieces that have."""
        cut: list[Chunk] = []
        for chunk in cutter.chunks(document, budget):
            number = ceil(self._rows_tokens(document, chunk) / self._room) if self.list_fields else 1
            cut += in_pieces(document, chunk, self._plan, number) if number > 1 else [chunk]
        return [
            Chunk(
                index=at,
                span=chunk.span,
                tokens=chunk.tokens,
                heading=chunk.heading,
                page_start=chunk.page_start,
                page_end=chunk.page_end,
            )
            for at, chunk in enumerate(cut)
        ]

    def _rows_tokens(self, document: Document, chunk: Chunk) -> int:
        text = document.text[chunk.span.start : chunk.span.end]
        blocks = _ROWS.findall(text if text.endswith("\n") else f"{text}\n")
        rows: int = sum(block.count("\n") for block in blocks)
        share: float = sum(map(len, blocks)) / max(1, len(text))
        return ceil(2 * chunk.tokens * share) + rows * (ITEM_TOKENS + NAME_TOKENS * self.list_fields)


def leaf_count(schema: Any) -> int:
    """Fields that hold a value, at any depth."""
    element = elements(schema)
    if element is not None:
        return leaf_count(element)
    fields = members(schema)
    return max(1, sum(map(leaf_count, fields.values())))


def _list_fields(schema: Any) -> list[int]:
    """For each list of objects in `schema`, at any depth, the fields of an element."""
    element = elements(schema)
    inner = element if element is not None else schema
    found = [size for field in members(inner).values() for size in _list_fields(field)]
    return [*found, leaf_count(inner)] if element is not None and members(element) else found
