"""A PDF's pages in the reading view: boxes on the words they mean, both ways, and in words what is not shown."""

from __future__ import annotations

import json
import zipfile
from email.message import EmailMessage
from pathlib import Path

import pytest
from browsing import browse
from docreduce.config import load_job
from docreduce.engine.run import run_job
from docreduce.readers import evidence_pages
from docreduce.readers.pages import MOST_PAGES
from docreduce.report.html import write_reading
from docreduce.report.pages import sheets
from docreduce.report.reading import index, reading
from docreduce.settings import InputSettings
from docreduce.simulator import Ask
from docreduce.values.errors import DocumentError
from pdfs import pdf
from runs import serving, write_job

RED = "BT /F1 12 Tf 72 600 Td (The old bridge was ) Tj 1 0 0 rg (closed in 1903) Tj 0 g ( & <b>never</b> opened.) Tj ET"
TURNED = "/Rotate 90 /CropBox [36 36 576 756]"
SHAPES = [(), ("--phone", "--dark"), ("--no-script",)]


@pytest.fixture(scope="module", params=["", TURNED], ids=["upright", "turned and cut"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run over one PDF whose second page bears the evidence, in red."""
    folder = tmp_path_factory.mktemp("sheets")
    (folder / "bridge.pdf").write_bytes(pdf("A title page.", RED, given=("", request.param)))
    return extracted(folder, "bridge.pdf")


def extracted(folder: Path, *names: str) -> Path:
    """A run over these files of a folder, in which the bridge was closed in 1903."""
    (folder / "s.json").write_text('{"type": "object", "properties": {"year": {"type": "integer"}}}')

    def answers(ask: Ask) -> str:
        return json.dumps({"items": [{"year": 1903, "evidence": {"year": "closed in 1903"}}]})

    with pytest.MonkeyPatch.context() as patch, serving(answers) as server:
        patch.setenv("OPENAI_API_KEY", "sk-test")
        tables = {
            "input": {"paths": [str(folder / name) for name in names]},
            "model": {"provider": "openai", "name": "m", "base_url": f"{server.url}/v1", "context_window": 20_000,
                      "structured_output": "prompt"},
            "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 1.0},
            "extract": {"schema": str(folder / "s.json"), "cardinality": "one"},
            "output": {"path": str(folder / "out")},
        }  # fmt: skip
        return Path(run_job(load_job(write_job(folder, "bridges", "extract", tables)))["run_dir"])


def test_only_the_page_that_bears_evidence_is_shown_with_its_box_and_the_text_below(run: Path) -> None:
    page = write_reading(run, "bridge").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 1
    assert 'alt="Page 2 ' in page
    assert 'aria-label="year: closed in 1903 – back to the value"' in page
    assert 'href="#b-0"' in page
    assert 'href="#w-0"' in page
    assert "&lt;b&gt;never" in page
    assert "png" not in json.dumps(reading(run, "bridge"), default=str)


@pytest.mark.parametrize("change", ["gone", "edited"])
def test_without_the_pdf_as_it_was_there_are_no_pages_and_it_is_said(run: Path, change: str) -> None:
    (source,) = run.parents[2].glob("bridge.pdf")
    raw = source.read_bytes()
    try:
        source.unlink()
        if change == "edited":
            source.write_bytes(raw.replace(b"1903", b"1904"))
        page = write_reading(run, "bridge").read_text(encoding="utf-8")
    finally:
        source.write_bytes(raw)
    assert ("is not there any more" if change == "gone" else "has changed since this run") in page
    assert "data:image/png" not in page


def test_a_pdf_in_an_archive_or_a_mail_has_its_pages_too(tmp_path: Path) -> None:
    kept = pdf("A title page.", RED)
    letter = EmailMessage()
    letter["From"], letter["To"], letter["Subject"] = "a@example.org", "b@example.org", "The bridge"
    letter.set_content("It was closed in 1903, see there.")
    letter.add_attachment(kept, maintype="application", subtype="pdf", filename="plan.pdf")
    with zipfile.ZipFile(tmp_path / "papers.zip", "w") as packed:
        packed.writestr("other.txt", "It was closed in 1903, too.")
        packed.writestr("deep/bridge.pdf", kept)
        packed.writestr("letter.eml", bytes(letter))
        packed.writestr("rows.csv", "id,text\n1,no\n2,It was closed in 1903.\n")
    (tmp_path / "letter.eml").write_bytes(bytes(letter))
    run = extracted(tmp_path, "papers.zip", "letter.eml")
    shown = {
        each["document"]: write_reading(run, each["document_id"]).read_text("utf-8") for each in index(run)["documents"]
    }
    pictures = {name.removeprefix(f"{tmp_path}/"): page.count("data:image/png;base64,") for name, page in shown.items()}
    assert pictures == {
        "papers.zip!/other.txt": 0,
        "papers.zip!/deep/bridge.pdf": 1,
        "papers.zip!/letter.eml": 0,
        "papers.zip!/letter.eml!/plan.pdf": 1,
        "papers.zip!/rows.csv": 0,
        "letter.eml": 0,
        "letter.eml!/plan.pdf": 1,
    }
    for name, page in shown.items():
        assert 'href="#w-0"' in page, name  # its text is there
        assert ('href="#b-0"' in page) == (pictures[name.removeprefix(f"{tmp_path}/")] == 1), name
    with zipfile.ZipFile(tmp_path / "papers.zip", "w") as packed:
        packed.writestr("deep/bridge.pdf", kept.replace(b"1903", b"1904"))
    again = write_reading(run, "papers.zip!/deep/bridge.pdf").read_text("utf-8")
    gone = write_reading(run, "papers.zip!/other.txt").read_text("utf-8")
    assert "has changed since this run" in again
    assert "cannot be read any more" in gone


def test_a_page_whose_words_are_a_picture_is_shown_without_a_box_and_it_is_said(run: Path) -> None:
    found = reading(run, "bridge")
    (item,) = found["items"]
    (row,) = item["values"][0]["evidence"]
    text = found["source"]["text"].replace("closed in 1903", "c1osed in l9O3")
    seen = sheets(run, found["document"], text, [row])
    assert [(page["number"], page["boxes"]) for page in seen.pages] == [(2, [])]
    assert (seen.placed, seen.numbers) == (frozenset(), {2})
    assert seen.said.startswith("1 passage has no box: the words are in a picture")


def test_pages_past_the_most_come_without_a_picture_and_a_huge_page_with_a_small_one() -> None:
    count = MOST_PAGES + 3
    huge = "/MediaBox [0 0 14400 14400]"
    raw = pdf(*(f"word {at}" for at in range(count)), given=[huge, *[""] * (count - 1)])
    found = evidence_pages(raw, InputSettings(paths=["x"]), [(at + 1, "word") for at in range(count)])
    assert [page.number for page in found] == list(range(1, count + 1))
    assert [page.number for page in found if page.png is None] == [MOST_PAGES + 1, MOST_PAGES + 2, MOST_PAGES + 3]
    assert all(page.width * page.height <= 2_100_000 for page in found)
    assert all(0 < spot.left < 100 and 0 < spot.height < 5 for page in found for spot in page.spots)


def test_a_page_that_takes_too_long_to_draw_ends_its_child_and_is_an_error() -> None:
    slow = "BT /F1 10 Tf 9 9 Td (word) Tj ET " + "0 0 m 600 700 300 800 9 9 c 5 w S " * 200_000
    settings = InputSettings(paths=["x"], reader_timeout_s=0.5)
    with pytest.raises(DocumentError, match=r"longer than 0.5 s"):
        evidence_pages(pdf(slow), settings, [(1, "word")])


@pytest.mark.server
@pytest.mark.parametrize("shape", SHAPES[:2], ids=["desktop", "phone, dark"])
def test_a_box_lies_on_the_words_in_the_picture(run: Path, shape: tuple[str, ...]) -> None:
    found = browse(write_reading(run, "bridge"), "--axe", "--boxes", *shape)
    assert (found["errors"], found["requests"], found["wide"]) == ([], [], False)
    assert [each for each in found["violations"] if each["impact"] in ("serious", "critical")] == []
    (paper,) = found["papers"]
    (box,) = paper["boxes"]
    assert box == pytest.approx(paper["red"], abs=2)


@pytest.mark.server
@pytest.mark.parametrize("shape", SHAPES, ids=["desktop", "phone, dark", "no script"])
def test_a_value_leads_to_its_box_and_the_box_leads_back(run: Path, shape: tuple[str, ...]) -> None:
    found = browse(write_reading(run, "bridge"), "--click", ".rest a", *shape)
    assert found["errors"] == []
    assert found["target"] == "#b-0"
    assert found["label"] == "year: closed in 1903 – back to the value"
    assert found["wordsInView"]
    assert found["back"] == "#v-0"
    assert found["valueInView"]
