"""Where the simulator's answers come from. An answerer is any callable from an Ask to a text."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from docreduce.simulator.dialects import Ask
from docreduce.values.errors import JobError

__all__ = ["Answerer", "echo", "extractive", "gold", "gold_from_files"]

Answerer: TypeAlias = Callable[[Ask], str]


def echo(ask: Ask, words: int | None = None) -> str:
    """The source's own words from its start, repeated or cut to `words`; where an answer has a schema, the smallest
    that it accepts: an extraction's items are none, a closed set's answer is its first label."""
    if ask.schema is not None or ask.structured:
        return _smallest(ask.text, ask.schema or {})
    source = ask.text if words is None else ask.text[: words * 40]
    given = source.split() or ["nothing"]
    if words is None:
        return " ".join(given)
    return " ".join((given * (words // len(given) + 1))[:words])


def _smallest(text: str, schema: Mapping[str, Any]) -> str:
    """The smallest answer by `schema`, with every row of packed ones."""
    from docreduce.kinds.extract.prompts import unpack
    from docreduce.kinds.map.predicted import instance

    value = instance(schema) or {"items": []}
    if "rows" in value:
        row = instance(schema["properties"]["rows"].get("items", {}))
        with contextlib.suppress(ValueError):  # no rows of ours
            value = {**value, "rows": [{**row, "row": number} for number, _ in unpack(text)]}
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def extractive(count: Callable[[str], int], words: int | None = None) -> Answerer:
    """The embedded provider's answers: a digest of at most `words`, or the items it finds where there is a schema."""
    from docreduce.kinds.extract.offline import extract_items
    from docreduce.kinds.summarize.offline import summarize

    def answer(ask: Ask) -> str:
        if ask.schema is not None:
            text: str = extract_items(ask.text, json.dumps(ask.schema))
        else:
            text = summarize(ask.text, max_words=words or 300, max_tokens=ask.max_output_tokens, count=count)
        return text.encode("utf-8", "replace").decode()

    return answer


def gold(texts: Mapping[str, str], labels: Sequence[Mapping[str, Any]]) -> Answerer:
    """Answers an extraction with the gold spans in the chunk it was sent, one item {category, text} each, in order.

    Of a span that a chunk's border divides it quotes what stands in the chunk, as a model would. `texts`: each
    document's text by file. `labels`: rows of file, category, char_start, char_end, in code points of that text.
    A chunk of no known text has no items."""
    spans: dict[str, list[tuple[int, int, str]]] = {file: [] for file in texts}
    for row in labels:
        spans[row["file"]].append((row["char_start"], row["char_end"], row["category"]))

    def answer(ask: Ask) -> str:
        for file, text in texts.items():
            begin = text.find(ask.text)
            if begin >= 0:
                end = begin + len(ask.text)
                seen = [(c, text[max(a, begin) : min(b, end)].strip()) for a, b, c in sorted(spans[file])]
                items = [{"category": c, "text": words, "evidence": {"text": words}} for c, words in seen if words]
                return json.dumps({"items": items}, ensure_ascii=False)
        return '{"items":[]}'

    return answer


def gold_from_files(path: Path) -> Answerer:
    """The gold answerer for a Parquet or JSON Lines file of labels with their texts in the folder `txt` beside it.

    Rows without a span (`present` false) are left out. Raises JobError if a file is missing."""
    import pyarrow as pa
    import pyarrow.json as pj
    import pyarrow.parquet as pq

    try:
        rows = (pq.read_table(path) if path.suffix == ".parquet" else pj.read_json(path)).to_pylist()
        labels = [row for row in rows if row.get("present", True)]
        # Bytes, not text mode: a label's offsets count every \r.
        texts = {
            file: (path.parent / "txt" / file).read_bytes().decode() for file in sorted({row["file"] for row in labels})
        }
    except (OSError, pa.ArrowException) as error:
        raise JobError(f"{path}: no gold labels: {error}") from error
    return gold(texts, labels)
