"""A summary as a tree: sentences lead down to passages, what rests on nothing is marked, merges lead to chunks."""

from __future__ import annotations

from pathlib import Path

import docreduce
import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.report.html import write_reading
from docreduce.report.reading import reading
from docreduce.simulator import Ask
from runs import serving

TEXT = "\n\n".join(f"Chapter {at}. The harbour {at} was closed by ice in the year {1800 + at}." for at in range(40))
INVENTED = "Dragons burned the whole fleet."


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> docreduce.Run:
    folder = tmp_path_factory.mktemp("merged")
    (folder / "book.txt").write_text(TEXT)

    def answer(ask: Ask) -> str:
        first = ask.text[ask.text.index("The harbour") :].split("\n")[0].split(". ")[0].rstrip(".")
        return f"{first}. {INVENTED}"

    with pytest.MonkeyPatch.context() as patch, serving(answer, tokenizer="bytes") as server:
        patch.setenv("OPENAI_API_KEY", "k")
        stated = {
            "name": "book",
            "kind": "summarize",
            "input": {"paths": [str(folder / "book.txt")]},
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 100_000},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "chunking": {"max_tokens": 200},
            "output": {"path": str(folder / "out")},
        }
        return docreduce.run(stated)


def test_each_sentence_leads_to_the_passage_it_rests_on(merged: docreduce.Run) -> None:
    found = reading(merged.dir, "book.txt")
    rests = [(each["status"], each["value"], [one["quote"] for one in each["evidence"]]) for each in found["sentences"]]
    (status, sentence, quotes), (unsupported, invented, none) = rests
    assert (status, unsupported) == ("supported", "unsupported")
    assert any(sentence.rstrip(".") in quote for quote in quotes)
    assert (invented, none) == (INVENTED, [])
    first = found["sentences"][0]["evidence"][0]
    assert first["chunk"] is not None
    page = write_reading(merged.dir, "book.txt").read_text(encoding="utf-8")
    assert f'href="#w-{first["number"]}"' in page
    assert f'id="w-{first["number"]}"' in page
    assert "1 unsupported" in page
    shown = CliRunner().invoke(main, ["show", str(merged.dir), "book.txt"]).output
    assert "1 of its sentences rest on nothing that was found in the text" in shown


def test_the_merges_lead_to_every_chunk(merged: docreduce.Run) -> None:
    (root,) = reading(merged.dir, "book.txt")["tree"]
    leaves, nodes = [], [root]
    while nodes:
        node = nodes.pop()
        nodes += node["children"]
        leaves += [] if node["children"] else [node["chunk"]]
    chunks = pl.read_parquet(Path(merged.dir) / "chunks.parquet")["chunk"].to_list()
    assert len(chunks) > 2
    assert sorted(leaves) == sorted(chunks)
    page = write_reading(merged.dir, "book.txt").read_text(encoding="utf-8")
    assert all(f'href="#chunk-{chunk}"' in page and f'id="chunk-{chunk}"' in page for chunk in chunks)
