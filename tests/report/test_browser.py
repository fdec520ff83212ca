"""The pages in a real browser: they open, say nothing to the console, lead to words and back, and are accessible."""

from __future__ import annotations

import shutil
from pathlib import Path

import docreduce
import pytest
from browsing import browse
from docreduce.report.html import write_html, write_reading
from reports import HOSTILE, Runs

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def pages(made: Runs, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The pages of a run, beside a copy of its results."""
    folder = tmp_path_factory.mktemp("pages") / "run"
    shutil.copytree(made.first, folder)
    return {
        "report": write_html(folder),
        "reading": write_reading(folder, "distribution"),
        "hostile": write_reading(folder, "hostile"),
        "index": write_reading(folder, None),
    }


@pytest.mark.parametrize("shape", [(), ("--phone", "--dark")], ids=["desktop", "phone, dark"])
@pytest.mark.parametrize("name", ["report", "reading", "hostile", "index"])
def test_a_page_opens_from_disk_without_errors_network_or_barriers(
    pages: dict[str, Path], name: str, shape: tuple[str, ...]
) -> None:
    found = browse(pages[name], "--axe", *shape)
    assert found["errors"] == []
    assert found["requests"] == []
    assert found["dialogs"] == []
    assert not found["wide"], "the page is wider than the screen"
    assert [each for each in found["violations"] if each["impact"] in ("serious", "critical")] == []


@pytest.mark.parametrize("flags", [(), ("--no-script",), ("--phone",)], ids=["script", "no script", "phone"])
def test_a_value_leads_to_its_words_and_the_words_lead_back(pages: dict[str, Path], flags: tuple[str, ...]) -> None:
    found = browse(pages["reading"], "--click", ".rest a", *flags)
    assert found["errors"] == []
    assert found["quote"] == found["words"]
    assert found["wordsInView"]
    assert found["valueInView"]


def test_a_hostile_document_stays_text_in_the_browser(pages: dict[str, Path]) -> None:
    found = browse(pages["hostile"])
    assert found["title"].endswith("hostile.txt")
    assert found["elements"] == [1, 0, 0]  # our own script, no image, no frame
    for line in HOSTILE.replace("\u202e", "\\u202e").replace("\u202c", "\\u202c").replace("\u2028", "\n").splitlines():
        assert line.strip() in found["text"]


@pytest.mark.parametrize("shape", [(), ("--phone", "--dark")], ids=["desktop", "phone, dark"])
def test_a_sentence_of_a_summary_leads_to_its_passage_and_back(tmp_path: Path, shape: tuple[str, ...]) -> None:
    words = "\n\n".join(
        f"Chapter {at}. The harbour {at} was closed by ice in the year {1800 + at}." for at in range(80)
    )
    (tmp_path / "book.txt").write_text(words)
    stated = {"name": "book", "kind": "summarize", "input": {"paths": [str(tmp_path / "book.txt")]}}
    run = docreduce.run(stated, output=tmp_path / "out", max_tokens=300)
    page = write_reading(run.dir, "book.txt")
    assert [
        each for each in browse(page, "--axe", *shape)["violations"] if each["impact"] in ("serious", "critical")
    ] == []
    found = browse(page, "--click", ".rest a", *shape)
    assert (found["errors"], found["requests"]) == ([], [])
    assert found["quote"] == found["words"]
    assert found["wordsInView"]
    assert found["valueInView"]
    assert not found["wide"]
