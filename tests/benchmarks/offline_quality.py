"""How good the offline provider is: ROUGE of its summaries beside baselines, precision and recall of its fields.

    python tests/benchmarks/offline_quality.py [--data DIR]

Summaries: the reports' human references; each report in pieces of 8,000 tokens, summarized and reduced as
a tree of one level would, 300 words. ROUGE-1/2/L are F1, the best reference of a report, no stemming.
Fields: the contracts' gold labels at pieces of 8,000 tokens, the first value found counts.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import numpy as np
import polars as pl
from docreduce.kinds.extract.offline_prose import Sentence, sentences
from docreduce.providers import extractive_summary
from docreduce.providers.offline import MODEL, OfflineProvider
from docreduce.text.tokens import tokenizer
from docreduce.values import Answer, Message, Request
from places import DATA

PIECE_TOKENS = 8_000
WORDS = 300
DATE = {"type": ["string", "null"], "format": "date"}
CONTRACT = {
    "type": "object",
    "properties": {
        "agreement_date": DATE,
        "effective_date": DATE,
        "expiration_date": DATE,
        "governing_law": {"type": ["string", "null"]},
        "parties": {"type": ["array", "null"], "items": {"type": "string"}},
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


def ask(provider: OfflineProvider, text: str, *, schema: str | None = None, reduce: bool = False) -> str:
    request = Request(
        provider="offline", model=MODEL, messages=(Message("user", text),), max_output_tokens=1_000, temperature=0.0,
        top_p=1.0, schema=schema, max_words=WORDS, stage="reduce" if reduce else "map",
    )  # fmt: skip
    reply = asyncio.run(provider.send(request, timeout_s=60))
    assert isinstance(reply, Answer), reply
    return reply.text


def digest(provider: OfflineProvider, text: str) -> str:
    parts = [ask(provider, part) for part in pieces(text)]
    return parts[0] if len(parts) == 1 else ask(provider, "\n\n".join(parts), reduce=True)


def picked(choose: Callable[[list[Sentence]], list[Sentence]], text: str) -> str:
    """The baselines: `choose` orders the sentences of the whole text, as many are taken as fit."""
    chosen, words = [], 0.0
    for sentence in choose(sentences(text)):
        if words + sentence.words <= WORDS:
            chosen.append(sentence)
            words += sentence.words
    return " ".join(sentence.text for sentence in chosen)


@contextmanager
def scored_by(scores: Callable[..., np.ndarray]) -> Iterator[None]:
    with mock.patch.object(extractive_summary, "_scores", scores):
        yield


def centroid(found: list[Sentence], vectors: extractive_summary._Vectors) -> np.ndarray:
    """Cosine with the TF-IDF centroid (Radev et al. 2004)."""
    whole = np.bincount(vectors.columns, weights=vectors.values)
    score = np.bincount(vectors.rows, weights=vectors.values * whole[vectors.columns], minlength=len(found))
    return score / max(score.max(), 1e-9)


def lexrank(found: list[Sentence], vectors: extractive_summary._Vectors, block: int = 256) -> np.ndarray:
    """Continuous LexRank (Erkan and Radev 2004) in blocks of 256 sentences, damping 0.85."""
    score = np.zeros(len(found))
    for start in range(0, len(found), block):
        rows = np.arange(start, min(start + block, len(found)))
        cosine = extractive_summary._cosines(vectors, rows, len(found))
        np.fill_diagonal(cosine, 0)
        walk = cosine / np.maximum(cosine.sum(axis=1, keepdims=True), 1e-9)
        rank = np.full(len(rows), 1 / len(rows))
        for _ in range(50):
            rank = 0.15 / len(rows) + 0.85 * (walk.T @ rank)
        score[rows] = rank / rank.max()
    return score


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


def summaries(provider: OfflineProvider, data: Path) -> None:
    reports = pl.read_parquet(data / "reports" / "reports.parquet").to_dicts()
    shuffled = random.Random(1)
    ways: dict[str, Callable[[str], str]] = {
        "offline": lambda text: digest(provider, text),
        "first sentences": lambda text: picked(lambda found: found, text),
        "random sentences": lambda text: picked(lambda found: shuffled.sample(found, len(found)), text),
    }
    print(f"{len(reports)} reports, {WORDS} words, pieces of {PIECE_TOKENS} tokens: ROUGE-1 ROUGE-2 ROUGE-L, CPU s")
    for name, way in ways.items():
        report(name, way, reports)
    for scores in (centroid, lexrank):
        with scored_by(scores):
            report(f"TF-IDF {scores.__name__}", ways["offline"], reports)


def report(name: str, way: Callable[[str], str], reports: list[dict]) -> None:
    start = time.process_time()
    mean = np.mean([rouge(way(row["text"]), row["references"]) for row in reports], axis=0)
    print(f"  {name:20s} {mean[0]:.3f} {mean[1]:.3f} {mean[2]:.3f}  {time.process_time() - start:.1f}")


def contracts(provider: OfflineProvider, data: Path) -> None:
    labels = pl.read_parquet(data / "contracts" / "gold_labels.parquet").filter(pl.col("present"))
    tally = {name: Counter() for name in CONTRACT["properties"]}
    for (file,), gold in labels.group_by(["file"], maintain_order=True):
        text = (data / "contracts" / "txt" / str(file)).read_bytes().decode()
        found: dict[str, object] = {}
        for part in pieces(text):
            for item in json.loads(ask(provider, part, schema=json.dumps(CONTRACT)))["items"]:
                found = {**{k: v for k, v in item.items() if v is not None}, **found}
        for name, count in tally.items():
            rows = gold.filter(pl.col("category").str.to_lowercase().str.replace_all(" ", "_") == name)
            score(name, found.get(name), rows, count)
    print("contracts, pieces of 8,000 tokens: precision, recall (right / given, right / labelled)")
    for name, count in tally.items():
        precision, recall = (count["right"] / max(1, count[of]) for of in ("given", "gold"))
        print(f"  {name:16s} {precision:.2f} {recall:.2f}  ({count['right']} / {count['given']}, {count['gold']})")


def score(name: str, value: object, rows: pl.DataFrame, count: Counter) -> None:
    """Adds one contract. Where the lawyers name no calendar date, a date that is given is wrong."""
    answers = {str(row) for row in rows["normalized_answer"] if row}
    if name == "parties":
        spans = {folded(row) for row in rows["answer_text"]}
        given = {folded(one) for one in value or ()}
        count["given"] += len(given)
        count["right"] += len(given & spans)
        count["gold"] += len(
            [span for span in spans if re.search(r"\b(inc|llc|ltd|corp\w*|bank|gmbh|b\.?v|company)\b", span)]
        )
        return
    gold = {iso(one) for one in answers} - {""} if name.endswith("date") else {folded(one) for one in answers}
    count["gold"] += bool(gold)
    count["given"] += value is not None
    count["right"] += value is not None and folded(str(value)) in gold


def folded(text: str) -> str:
    return " ".join(text.split()).casefold().rstrip(".,")


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
    provider = OfflineProvider(COUNTER)
    summaries(provider, data)
    contracts(provider, data)


if __name__ == "__main__":
    main()
