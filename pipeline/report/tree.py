"""How a summary came to be: what each of its sentences rests on, and the summaries it was merged from."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.folder import table

if TYPE_CHECKING:
    import polars as pl

__all__ = ["sentences", "tree"]

QUOTED = 400
"""Characters of a passage that are shown beside its sentence, at most."""


def sentences(
    run_dir: Path, own: pl.Expr, text: str | None, chunks: Sequence[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """A summary's sentences, each with the passages it rests on, as evidence; `status` is unsupported where none was
    found. `chunk`: the one that a passage begins in."""
    support = table(run_dir, "support")
    rows = [] if support is None else support.filter(own).collect().to_dicts()
    found: dict[int, dict[str, Any]] = {}
    for number, row in enumerate(rows):
        begun = {"field": row["sentence"], "value": row["text"], "status": row["status"], "evidence": []}
        sentence = found.setdefault(row["sentence"], begun)
        start, end = row["char_start"], row["char_end"]
        if start is None or end is None:
            continue
        into = [each for each in chunks if each["char_start"] <= start < each["char_end"]]
        quote = "" if text is None else text[start : min(end, start + QUOTED)]
        passage = {"number": number, "chosen": True, "value": None, "quote": quote, "alignment": row["status"]}
        chunk = into[0] if into else {"chunk": None, "page_start": None}
        place = {"chunk": chunk["chunk"], "page": chunk["page_start"], "char_start": start, "char_end": end}
        sentence["evidence"].append({**passage, **place})
    return list(found.values())


def tree(run_dir: Path, own: pl.Expr, chunks: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The summaries that a summary was merged from, nested, the last merge on top: `level`, `text`, `chunk` (the one
    whose answer it is, if any) and `children`. Empty where there was nothing to merge."""
    stored = table(run_dir, "summaries")
    rows = [] if stored is None else stored.filter(own).sort("node").collect().to_dicts()
    if len(rows) < 2:
        return []
    answered: dict[str, list[int]] = defaultdict(list)
    for chunk in sorted(chunks, key=lambda each: int(each["chunk"]), reverse=True):
        answered[str(chunk["output"]).strip()].append(chunk["chunk"])
    made: dict[int, dict[str, Any]] = {}
    inner: set[int] = set()
    for row in rows:  # a node comes after its children
        alike = answered.get(str(row["text"]).strip())
        children = [made[each] for each in row["children"] or () if each in made]
        inner.update(row["children"] or ())
        answer_of = alike.pop() if alike else None
        made[row["node"]] = {"level": row["level"], "text": row["text"], "chunk": answer_of, "children": children}
    return [node for number, node in made.items() if number not in inner]
