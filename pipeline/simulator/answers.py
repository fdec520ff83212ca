"""Where the simulator's answers come from. An answerer is any callable from an Ask to a text."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from pipeline.errors import JobError
from pipeline.simulator.dialects import Ask

__all__ = ["Answerer", "echo", "extractive", "gold", "gold_from_files"]

Answerer: TypeAlias = Callable[[Ask], str]


def echo(ask: Ask, words: int | None = None) -> str:
    """The source's own words from its start, repeated or cut to `words`; an extraction's items are none."""
    if ask.schema is not None or ask.structured:
        return '{"items":[]}'
    source = ask.text if words is None else ask.text[: words * 40]
    given = source.split() or ["nothing"]
    if words is None:
        return " ".join(given)
    return " ".join((given * (words // len(given) + 1))[:words])


def extractive(count: Callable[[str], int], words: int | None = None) -> Answerer:
    """The embedded provider's answers: a digest of at most `words`, or the items it finds where there is a schema."""
    from pipeline.providers.extractive_fields import extract_items
    from pipeline.providers.extractive_summary import summarize

    def answer(ask: Ask) -> str:
        if ask.schema is not None:
            text: str = extract_items(ask.text, json.dumps(ask.schema))
        else:
            text = summarize(ask.text, max_words=words or 300, max_tokens=ask.max_output_tokens, count=count)
        return text.encode("utf-8", "replace").decode()

    return answer


def gold(
    texts: Mapping[str, str], labels: Sequence[Mapping[str, Any]], fields: Mapping[str, str] | None = None
) -> Answerer:
    """Answers an extraction with the gold spans that stand whole in the chunk it was sent.

    `texts`: each document's text by file. `labels`: rows of file, category, answer_text, char_start, char_end, in code
    points of that text. Without `fields` every span is an item {category, text}; with `fields` (category to field)
    there is one item a chunk, each field the first span of its category. A chunk of no known text has no items."""
    by_file: dict[str, list[Mapping[str, Any]]] = {}
    for label in labels:
        by_file.setdefault(label["file"], []).append(label)

    def answer(ask: Ask) -> str:
        chunk = ask.text
        for file, text in texts.items():
            start = text.find(chunk)
            if start < 0:
                continue
            standing = [
                label
                for label in sorted(by_file.get(file, ()), key=lambda row: (row["char_start"], row["char_end"]))
                if start <= label["char_start"] and label["char_end"] <= start + len(chunk)
            ]
            return json.dumps({"items": _items(standing, fields)}, ensure_ascii=False)
        return '{"items":[]}'

    return answer


def _items(labels: Sequence[Mapping[str, Any]], fields: Mapping[str, str] | None) -> list[dict[str, Any]]:
    if fields is None:
        return [
            {"category": row["category"], "text": row["answer_text"], "evidence": {"text": row["answer_text"]}}
            for row in labels
        ]
    first: dict[str, str] = {}
    for row in labels:
        if row["category"] in fields:
            first.setdefault(fields[row["category"]], row["answer_text"])
    return [{**first, "evidence": first}] if first else []


def gold_from_files(path: Path) -> Answerer:
    """The gold answerer for a Parquet or JSON Lines file of labels with their texts in the folder `txt` beside it.

    Rows without a span (`present` false) are left out. Raises JobError if a file is missing."""
    import polars as pl

    try:
        rows = (pl.read_parquet(path) if path.suffix == ".parquet" else pl.read_ndjson(path)).to_dicts()
        labels = [row for row in rows if row.get("present", True)]
        # Bytes, not text mode: a label's offsets count every \r.
        texts = {
            file: (path.parent / "txt" / file).read_bytes().decode() for file in sorted({row["file"] for row in labels})
        }
    except (OSError, pl.exceptions.PolarsError) as error:
        raise JobError(f"{path}: no gold labels: {error}") from error
    return gold(texts, labels)
