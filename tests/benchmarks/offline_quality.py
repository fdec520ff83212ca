"""How good the offline provider is: ROUGE of its summaries beside baselines, precision and recall of its fields.

    python tests/benchmarks/offline_quality.py [--data DIR]

Summaries: the reports' human references; each report in pieces of 8,000 tokens, summarized and reduced as
a tree of one level would, 300 words. ROUGE-1/2/L are F1, the best reference of a report, no stemming.
Fields: the contracts' gold labels at pieces of 8,000 tokens, the first value found counts.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
from docreduce.kinds.extract.offline import extract_items
from docreduce.kinds.summarize.offline import summarize
from docreduce.text.sentences import sentences, words
from docreduce.text.tokens import tokenizer
from places import DATA

PIECE_TOKENS = 8_000
WORDS = 300
MAX_TOKENS = 1_000
DATE = {"type": ["string", "null"], "format": "date"}
CONTRACT = {
    "type": "object",
    "properties": {
        "agreement_date": DATE,
        "effective_date": DATE,
        "expiration_date": DATE,
    },
}
COUNTER = tokenizer("o200k_base")


def pieces(text: str) -> list[str]:
    """`text` in pieces of about 8,000 tokens, cut at a line."""
    size = max(1, int(len(text) * PIECE_TOKENS / max(1, COUNTER.count(text))))
    parts, start = [], 0
    while start < len(text):
        cut = text.rfind("\n", start + size // 2, start + size) + 1 if start + size < len(text) else len(text)
        end = cut or start + size
        parts.append(text[start:end])
        start = end
    return parts


def digest(text: str) -> str:
    """As a run would: each piece summarized, the summaries summarized."""
    parts = [
        summarize(part, max_words=WORDS, max_tokens=MAX_TOKENS, count=COUNTER.count, shorten=True)
        for part in pieces(text)
    ]
    if len(parts) == 1:
        return parts[0]
    return summarize("\n\n".join(parts), max_words=WORDS, max_tokens=MAX_TOKENS, count=COUNTER.count)


def picked(choose: Callable[[list[str]], list[str]], text: str) -> str:
    """The baselines: `choose` orders the sentences of the whole text, as many are taken as fit."""
    chosen, room = [], WORDS
    for sentence in choose([text[start:end] for start, end in sentences(text)]):
        if sentence[-1] in ".!?" and words(sentence) <= room:  # no headings, no rows of tables
            chosen.append(sentence)
            room -= words(sentence)
    return " ".join(chosen)


def rouge(summary: str, references: list[str]) -> tuple[float, float, float]:
    """ROUGE-1, ROUGE-2 and ROUGE-L (Lin 2004) as F1 against the reference that fits best."""
    words = re.findall(r"[a-z0-9]+", summary.lower())
    scores = []
    for reference in references:
        gold = re.findall(r"[a-z0-9]+", reference.lower())
        scores.append((overlap(words, gold, 1), overlap(words, gold, 2), f1(lcs(words, gold), len(words), len(gold))))
    return max(scores, key=sum)


def overlap(left: list[str], right: list[str], n: int) -> float:
    a, b = (Counter(zip(*(words[i:] for i in range(n)), strict=False)) for words in (left, right))
    return f1((a & b).total(), a.total(), b.total())


def lcs(left: list[str], right: list[str]) -> int:
    """Length of the longest common subsequence, bit-parallel (Hyyrö 2004)."""
    places: dict[str, int] = {}
    for place, word in enumerate(left):
        places[word] = places.get(word, 0) | 1 << place
    full = (1 << len(left)) - 1
    state = full
    for word in right:
        both = state & places.get(word, 0)
        state = ((state + both) | (state - both)) & full
    return len(left) - state.bit_count()


def f1(common: int, left: int, right: int) -> float:
    return 2 * common / (left + right) if common else 0.0


def summaries(data: Path) -> None:
    reports = pl.read_parquet(data / "reports" / "reports.parquet").to_dicts()
    shuffled = random.Random(1)
    ways: dict[str, Callable[[str], str]] = {
        "offline": digest,
        "first sentences": lambda text: picked(lambda found: found, text),
        "random sentences": lambda text: picked(lambda found: shuffled.sample(found, len(found)), text),
    }
    print(f"{len(reports)} reports, {WORDS} words, pieces of {PIECE_TOKENS} tokens: ROUGE-1 ROUGE-2 ROUGE-L, CPU s")
    for name, way in ways.items():
        report(name, way, reports)


def report(name: str, way: Callable[[str], str], reports: list[dict]) -> None:
    start = time.process_time()
    mean = np.mean([rouge(way(row["text"]), row["references"]) for row in reports], axis=0)
    print(f"  {name:20s} {mean[0]:.3f} {mean[1]:.3f} {mean[2]:.3f}  {time.process_time() - start:.1f}")


def contracts(data: Path) -> None:
    labels = pl.read_parquet(data / "contracts" / "gold_labels.parquet").filter(pl.col("present"))
    tally = {name: Counter() for name in CONTRACT["properties"]}
    for (file,), gold in labels.group_by(["file"], maintain_order=True):
        text = (data / "contracts" / "txt" / str(file)).read_bytes().decode()
        found: dict[str, object] = {}
        for part in pieces(text):
            for item in json.loads(extract_items(part, json.dumps(CONTRACT)))["items"]:
                found = {**{k: v for k, v in item.items() if v is not None}, **found}
        for name, count in tally.items():
            rows = gold.filter(pl.col("category").str.to_lowercase().str.replace_all(" ", "_") == name)
            score(found.get(name), rows, count)
    print("contracts, pieces of 8,000 tokens: precision, recall (right / given, right / labelled)")
    for name, count in tally.items():
        precision, recall = (count["right"] / max(1, count[of]) for of in ("given", "gold"))
        print(f"  {name:16s} {precision:.2f} {recall:.2f}  ({count['right']} / {count['given']}, {count['gold']})")


def score(value: object, rows: pl.DataFrame, count: Counter) -> None:
    """Adds one contract. Where the lawyers name no calendar date, a date that is given is wrong."""
    answers = {str(row) for row in rows["normalized_answer"] if row}
    gold = {iso(one) for one in answers} - {""}
    count["gold"] += bool(gold)
    count["given"] += value is not None
    count["right"] += value is not None and str(value) in gold


def iso(date: str) -> str:
    match = re.fullmatch(r"(\d{1,2})/(\d{1,2})/(\d{2})", date)
    if match is None:
        return ""
    month, day, year = map(int, match.groups())
    return f"{year + (2000 if year < 70 else 1900)}-{month:02}-{day:02}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    data = parser.parse_args().data
    summaries(data)
    contracts(data)


if __name__ == "__main__":
    main()
