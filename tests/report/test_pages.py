"""The pages as files: what they say, that they hold nothing foreign, and that no document's words become markup."""

from __future__ import annotations

import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import polars as pl
import pytest
from click.testing import CliRunner
from docreduce.cli import main
from docreduce.engine.bounds import BOUND_NAMES
from docreduce.report.html import write_html, write_reading
from docreduce.report.reading import index, reading
from docreduce.values.errors import JobError, MachineError
from markupsafe import escape
from places import ROOT
from reports import HOSTILE, Runs


class Page(HTMLParser):
    """Tags with their attributes, and the text of the document's body (`.body`)."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.body, self._depth, self._label = "", 0, 0
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        kind = dict(attrs).get("class")
        if kind == "body":
            self._depth = 1
        elif self._depth:
            self._depth += tag in ("div", "span", "a")
            self._label = self._depth if kind == "chunk" else self._label

    def handle_endtag(self, tag: str) -> None:
        if self._depth and tag in ("div", "span", "a"):
            self._label = 0 if self._label == self._depth else self._label
            self._depth -= 1

    def handle_data(self, data: str) -> None:
        if self._depth and not self._label:
            self.body += data

    def all(self, tag: str, name: str) -> list[str]:
        return [attrs[name] or "" for each, attrs in self.tags if each == tag and name in attrs]


def test_a_report_says_what_its_tables_say(made: Runs, runs: Runs) -> None:
    text = write_html(runs.first).read_text(encoding="utf-8")
    documents = pl.read_parquet(made.first / "documents.parquet")
    assert f"of {documents.height} documents ok" in text
    assert "nothing.txt" in text
    assert "content filter" in text
    assert "server error" in text
    assert text.count("<svg") >= 1
    assert "http://" not in re.sub(r"http://(127\.0\.0\.1|www\.w3\.org)", "", text)


def test_a_report_says_what_held_the_run_back(runs: Runs) -> None:
    manifest = json.loads((runs.first / "run.json").read_bytes())
    manifest["bounded_by"] = {"rest": 61.2, "ledger": 2.0, "reading": 0.4}
    (runs.first / "run.json").write_text(json.dumps(manifest))
    text = write_html(runs.first).read_text(encoding="utf-8")
    words = f"{BOUND_NAMES['rest']} 61 s, {BOUND_NAMES['ledger']} 2 s"
    assert f"Held back by: {escape(words)}." in text
    shown = CliRunner().invoke(main, ["report", str(runs.first)]).stdout
    assert f"held back by: {words}\n" in shown
    (runs.first / "run.json").write_text(json.dumps({**manifest, "bounded_by": {"reading": 0.4}}))
    assert "Held back" not in write_html(runs.first).read_text(encoding="utf-8")


def test_pages_are_for_their_owner_only_and_fetch_nothing(runs: Runs) -> None:
    for path in (write_html(runs.first), write_reading(runs.first, "hostile")):
        assert path.stat().st_mode & 0o077 == 0
        page = Page(path)
        assert not {"img", "iframe", "object", "audio", "video"} & {tag for tag, _ in page.tags}
        assert all(href.startswith(("#", "data:")) for tag in ("a", "link") for href in page.all(tag, "href"))
        assert page.all("script", "src") == []


def test_a_hostile_document_stays_text_to_the_letter(runs: Runs) -> None:
    page = Page(write_reading(runs.first, "hostile"))
    shown = HOSTILE.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c")
    assert page.body == shown
    assert len([tag for tag, _ in page.tags if tag == "script"]) == 1


def test_every_value_with_words_leads_to_them_and_back(runs: Runs) -> None:
    found = reading(runs.first, "distribution")
    evidence = [row for item in found["items"] for value in item["values"] for row in value["evidence"]]
    placed = [row for row in evidence if row["char_start"] is not None]
    assert len(placed) > 3
    text = found["source"]["text"]
    exact = [row for row in placed if row["alignment"] == "exact"]
    assert all(text[row["char_start"] : row["char_end"]] == row["quote"] for row in exact)
    page = Page(write_reading(runs.first, "distribution"))
    ids = {attrs["id"] for _, attrs in page.tags if "id" in attrs}
    links = page.all("a", "href")
    assert {f"#w-{row['number']}" for row in placed} <= set(links)
    assert all(link[1:] in ids for link in links if link.startswith("#"))
    assert page.body == text


def test_losers_stand_beside_the_winner(runs: Runs) -> None:
    path = runs.first / "evidence.parquet"
    rows = pl.read_parquet(path)
    lost = rows.head(1).with_columns(pl.lit(False).alias("chosen"), pl.lit('"Mars"').alias("value"))
    pl.concat([rows, lost]).write_parquet(path)
    name = str(rows["document_id"][0])
    text = write_reading(runs.first, name).read_text(encoding="utf-8")
    assert "not chosen: </span>Mars" in text
    shown = CliRunner().invoke(main, ["show", str(runs.first), name]).stdout
    assert "(not chosen: Mars)" in shown


@pytest.mark.parametrize(
    ("change", "words"), [("gone", "not there any more"), ("edited", "has changed since this run")]
)
def test_where_the_source_is_gone_or_another_the_chunks_answers_are_shown(
    runs: Runs, made: Runs, tmp_path: Path, change: str, words: str
) -> None:
    path = runs.first / "documents.parquet"
    place = tmp_path / "elsewhere.txt"
    if change == "edited":
        place.write_text("another text")
    moved = pl.when(pl.col("uri").str.contains("hostile")).then(pl.lit(str(place))).otherwise(pl.col("uri"))
    pl.read_parquet(path).with_columns(moved.alias("uri")).write_parquet(path)
    found = reading(runs.first, "elsewhere")
    assert found["source"]["text"] is None
    assert words in found["source"]["fault"]
    text = write_reading(runs.first, "elsewhere").read_text(encoding="utf-8")
    assert words in text
    assert "Answers to the chunks" in text
    assert words in CliRunner().invoke(main, ["show", str(runs.first), "elsewhere"]).stdout


def test_an_index_leads_to_every_view(runs: Runs) -> None:
    page = write_reading(runs.first, None)
    links = [link for link in Page(page).all("a", "href") if link.endswith(".html")]
    assert len(links) == index(runs.first)["total"] == pl.read_parquet(runs.first / "documents.parquet").height
    assert all((page.parent / link).is_file() for link in links)


def test_an_index_over_many_documents_makes_no_views_and_says_how_to(
    runs: Runs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("docreduce.report.html.VIEWS", 2)
    one = write_reading(runs.first, "hostile")
    page = write_reading(runs.first, None)
    assert sorted(path.name for path in page.parent.iterdir()) == sorted([one.name, "index.html"])
    assert [link for link in Page(page).all("a", "href") if link.endswith(".html")] == [one.name]
    assert f"docreduce show {runs.first} ID --html" in page.read_text(encoding="utf-8")


def test_a_disk_that_refuses_the_report_costs_no_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise MachineError("report.html: No space left on device")

    monkeypatch.setattr("docreduce.report.html.write_html", refuse)
    job = ["run", ROOT / "jobs" / "summarize.toml", "--input", ROOT / "data" / "reports", "--output", tmp_path / "out"]
    result = CliRunner().invoke(main, [str(arg) for arg in job])
    assert result.exit_code == 0
    assert "could not be written" in result.stderr
    assert (Path(result.stdout.strip()) / "run.json").is_file()


def test_rows_of_a_table_are_read_again_from_their_row(tmp_path: Path) -> None:
    table = tmp_path / "tickets.csv"
    shutil.copy(ROOT / "data" / "tickets.csv", table)
    job = ["run", ROOT / "jobs" / "tickets.toml", "--input", table, "--output", tmp_path / "out"]
    run = Path(CliRunner().invoke(main, [str(arg) for arg in job]).stdout.strip())
    found = reading(run, "T-1046")
    rows = {row["ticket_id"]: row["text"] for row in pl.read_csv(table).to_dicts()}
    assert found["source"] == {"text": rows["T-1046"], "fault": None}
    assert reading(run, "tickets.csv#5")["document"]["document_id"] == "T-1046"


def test_a_name_that_fits_several_or_none_is_refused_with_what_to_do(made: Runs) -> None:
    with pytest.raises(JobError, match="more than one document"):
        reading(made.first, ".txt")
    with pytest.raises(JobError, match="no document of this run"):
        reading(made.first, "atlantis")


def test_a_run_without_calls_or_documents_has_a_report(tmp_path: Path) -> None:
    (tmp_path / "nothing.txt").touch()
    job = ["run", ROOT / "jobs" / "summarize.toml", "--input", tmp_path / "nothing.txt", "--output", tmp_path / "out"]
    run = Path(CliRunner().invoke(main, [str(arg) for arg in job]).stdout.strip())
    assert "0 of 1 documents ok" in (run / "report.html").read_text(encoding="utf-8")
    quiet = CliRunner().invoke(main, [*map(str, job), "--set", "output.report=false"]).stdout.strip()
    assert not (Path(quiet) / "report.html").exists()
