"""Units of an extraction: a document alone, or several short rows of a table that share a request.

On an account that answers five requests at a time, rows that share one are the difference between a night and a
week. Their answers are taken apart by row number; a row that is missing or invalid is asked again alone.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence

import orjson
from docreduce.kinds.extract.answers import InvalidAnswerError, rows_of
from docreduce.kinds.extract.prompts import pack
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.steps import Extractor, in_forms, overhead_tokens, request
from docreduce.kinds.plan import ModelPlan
from docreduce.kinds.steps import too_long
from docreduce.values import Chunk, Completion, Document, Failure, Outcome, Request, Span, Stage, Steps

__all__ = ["extract", "units"]

AUTO_MAX_ROWS = 50
"""More rows than this in one request, and models begin to mix them up or to leave some out."""
ROW_FRAME_TOKENS = 24
"""What the line before a row takes, at most, with the line breaks around it."""
ITEM_TOKENS = 25
FIELD_TOKENS = 40
"""Expected answer: an item's brackets and names, a field's value and quote. A cut answer halves its rows."""
ITEMS_A_ROW = 2
"""Expected with cardinality many."""


def units(documents: Iterable[Document], plan: ModelPlan, settings: Extraction) -> Iterator[tuple[Document, ...]]:
    """The documents in their order, consecutive short rows of a table together where the job packs them.

    A row that would have to be cut stands alone, as does every file."""
    limit = _rows_a_request(plan, settings)
    if limit == 1:
        yield from ((document,) for document in documents)
        return
    room = plan.chunk_tokens(overhead_tokens(plan, settings, rows=True)) - ROW_FRAME_TOKENS  # the line after the last
    unit: list[Document] = []
    held = 0
    for document in documents:
        tokens = room + 1
        if document.row is not None and len(document.text) <= room * 16:  # else no need to count
            tokens = plan.tokenizer.count(document.text) + ROW_FRAME_TOKENS
        if unit and (len(unit) == limit or held + tokens > room):
            yield tuple(unit)
            unit, held = [], 0
        if tokens > room:
            yield (document,)
        else:
            unit.append(document)
            held += tokens
    if unit:
        yield tuple(unit)


def extract(documents: Sequence[Document], plan: ModelPlan, settings: Extraction) -> Steps:
    """Steps for one unit, as `units` makes them. One Result a document, in order.

    ok where every chunk was answered, partial where some were not, failed where none was, skipped where there is
    no text or the run ended first."""
    return in_forms(_extract(documents, plan, settings), plan, settings)


def _extract(documents: Sequence[Document], plan: ModelPlan, settings: Extraction) -> Steps:
    work = [Extractor(document=document, plan=plan, settings=settings, at=at) for at, document in enumerate(documents)]
    todo = [extractor for extractor in work if extractor.document.text.strip()]
    stage: Stage = "map"
    if len(todo) > 1:
        todo = yield from _ask_rows(todo, plan, settings)
        stage = "repair"
    for extractor in todo:  # one after the other: the other units fill the slots
        yield from extractor.ask(stage)
    return [extractor.result() for extractor in work]


def _rows_a_request(plan: ModelPlan, settings: Extraction) -> int:
    if settings.table.rows_per_request != "auto":
        return settings.table.rows_per_request
    items = ITEMS_A_ROW if settings.table.cardinality == "many" else 1
    row_tokens = items * (ITEM_TOKENS + FIELD_TOKENS * len(settings.fields))
    return max(1, min(AUTO_MAX_ROWS, plan.max_output_tokens // row_tokens))


def _ask_rows(
    work: Sequence[Extractor], plan: ModelPlan, settings: Extraction
) -> Generator[list[Request], list[Outcome], list[Extractor]]:
    """Ask for all rows in one request, in halves where the answer was cut or no answer at all.

    Comes back with those that have to be asked alone, in order."""
    alone: list[Extractor] = []
    todo = [list(work)]
    while todo:
        groups, todo = todo, []
        outcomes = yield [_request(group, plan, settings) for group in groups]
        for group, outcome in zip(groups, outcomes, strict=True):
            missing = group
            if isinstance(outcome, Failure) and not too_long(outcome):
                for extractor in group:
                    extractor.fail(_whole(extractor), outcome)
                continue
            if isinstance(outcome, Completion) and not too_long(outcome):
                missing = _take_apart(group, outcome, settings)
            if missing == group:
                half = (len(group) + 1) // 2
                todo += [part for part in (group[:half], group[half:]) if len(part) > 1]
                alone += [part[0] for part in (group[:half], group[half:]) if len(part) == 1]
            else:
                alone += missing
    return sorted(alone, key=lambda extractor: extractor.at)


def _request(group: Sequence[Extractor], plan: ModelPlan, settings: Extraction) -> Request:
    text = pack([extractor.document.text for extractor in group])
    places = tuple(extractor.at for extractor in group)
    tokens = plan.tokenizer.count(text)
    return request(plan, settings, text, tokens, rows=True, stage="map", chunk=0, documents=places)


def _whole(extractor: Extractor) -> Chunk:
    """The row as one chunk; it has no pages."""
    text = extractor.document.text
    return Chunk(index=0, span=Span(0, len(text)), tokens=extractor.plan.tokenizer.count(text))


def _take_apart(group: list[Extractor], outcome: Completion, settings: Extraction) -> list[Extractor]:
    """Give each row its items; comes back with those that have none, in order."""
    try:
        by_row = rows_of(outcome.text, range(1, len(group) + 1), settings.schema)
    except InvalidAnswerError:
        return group
    missing = []
    for row, extractor in enumerate(group, 1):
        if row in by_row:
            output = orjson.dumps({"items": by_row[row]}).decode()
            extractor.accept(_whole(extractor), output, by_row[row])
        else:
            missing.append(extractor)
    return missing
