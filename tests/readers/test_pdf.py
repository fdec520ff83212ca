"""PDF: pages, and children that hang, crash or eat memory without harm to anybody else."""

# ruff: noqa: E501 - a case is a line
from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import tarfile
import threading
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from docreduce.readers import Unread, close_sandboxes, discover, quote_boxes, read
from docreduce.readers.base import ReadOptions
from docreduce.readers.bidi import relaid
from docreduce.readers.pdf import _whole_words
from docreduce.readers.sandbox import as_request, sandbox
from docreduce.settings import InputSettings
from docreduce.values.errors import DocumentError
from pdfs import drawn, pdf


def test_pages_are_marked_where_they_begin(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("first page", "", "third page"))
    (only,) = read_all(tmp_path)
    assert only.text == "first page\n\n\n\nthird page"
    assert [(m.kind, m.label, only.text[m.start : m.start + 5]) for m in only.marks] == [
        ("page", "1", "first"),
        ("page", "2", "\n\nthi"),
        ("page", "3", "third"),
    ]


def test_a_pdf_is_known_by_its_content_also_in_gzip_and_under_another_name(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.txt").write_bytes(pdf("text"))
    (tmp_path / "b.pdf.gz").write_bytes(gzip.compress(pdf("text")))
    found = read_all(tmp_path)
    assert [(d.text, d.media_type) for d in found] == [("text", "application/pdf")] * 2
    assert found[0].id == found[1].id


def test_an_archive_that_begins_with_a_pdf_is_an_archive(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("of a"))
    (tmp_path / "b.pdf").write_bytes(pdf("of b"))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_STORED) as packed:
        packed.write(tmp_path / "a.pdf", "a.pdf")
        packed.write(tmp_path / "b.pdf", "b.pdf")
    with tarfile.open(tmp_path / "d.tar", "w") as taped:
        taped.add(tmp_path / "b.pdf", "b.pdf")
        taped.add(tmp_path / "a.pdf", "a.pdf")
    (tmp_path / "junk.pdf").write_bytes(b"\n" * 500 + pdf("after junk"))
    found = [(document.uri.removeprefix(f"{tmp_path}/"), document.text) for document in read_all(tmp_path)]
    assert found == [
        ("a.pdf", "of a"),
        ("b.pdf", "of b"),
        ("c.zip!/a.pdf", "of a"),
        ("c.zip!/b.pdf", "of b"),
        ("d.tar!/b.pdf", "of b"),
        ("d.tar!/a.pdf", "of a"),
        ("junk.pdf", "after junk"),
    ]


@pytest.mark.parametrize("raw", [b"%PDF-1.7\nnothing", b"%PDF-", pdf("text")[:200], b"no pdf at all"])
def test_a_damaged_pdf_is_a_failed_document(tmp_path: Path, read_all: Any, raw: bytes) -> None:
    (tmp_path / "a.pdf").write_bytes(raw)
    (tmp_path / "b.pdf").write_bytes(pdf("text"))
    bad, good = read_all(tmp_path)
    assert isinstance(bad, Unread)
    assert bad.error.kind == "unreadable"
    assert good.text == "text"


def test_a_scan_asks_for_ocr(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf("", ""))
    (only,) = read_all(tmp_path)
    assert only.error.kind == "no_text"
    assert "OCR" in only.error.hint


def widget(kind: str, rect: str, rest: str) -> str:
    return f"<< /Type /Annot /Subtype /Widget /FT /{kind} /Rect [{rect}] /F 4 /DA (/F1 12 Tf) {rest} >>"


def test_the_values_of_a_form_and_its_notes_stand_by_their_labels(tmp_path: Path, read_all: Any) -> None:
    page = drawn(
        (72, 700, "Tenant:"),
        (72, 680, "Notice in days:"),
        (72, 660, "Pets allowed"),
        (100, 640, "Smoking allowed"),
        (72, 560, "Signed in June."),
    )
    fields = [
        widget("Tx", "130 695 300 712", "/T (a) /V (Ada Example)"),
        widget("Tx", "160 675 300 692", "/T (b) /V (ninety)"),
        widget("Btn", "140 655 155 672", "/T (c) /V /Yes /AS /Yes"),
        widget("Btn", "80 635 95 652", "/T (d) /V /Off /AS /Off"),
        widget("Tx", "130 615 300 632", "/T (e) /V (hunter2) /Ff 8192"),
        "<< /Type /Annot /Subtype /FreeText /Contents (Rent is 900 a month) /DA (/F1 12 Tf) /Rect [72 600 300 615] /F 4 >>",
        "<< /Type /Annot /Subtype /Text /Contents (who signs?) /Rect [400 555 420 575] /F 4 >>",
        "<< /Type /Annot /Subtype /FreeText /Contents (a hidden note) /DA (/F1 12 Tf) /Rect [72 580 300 595] /F 2 >>",
    ]
    names = " ".join(f"{6 + i} 0 R" for i in range(len(fields)))
    forms = " ".join(f"{6 + i} 0 R" for i in range(5))
    catalog = f"/AcroForm << /Fields [{forms}] /DR << /Font << /F1 3 0 R >> >> /DA (/F1 12 Tf) >>"
    raw = pdf(page, extra=fields, given=[f"/Annots [{names}]"], catalog=catalog)
    (tmp_path / "a.pdf").write_bytes(raw)
    (only,) = read_all(tmp_path)
    quotes = [(1, words) for words in ("Ada Example", "in days: ninety", "allowed [x]", "900 a month", "who signs?")]
    name, days, box, rent, note = quote_boxes(raw, InputSettings(paths=["x"]), quotes)
    assert name == [(1, 130.0, 695.0, 300.0, 712.0)]
    assert [round(left) for _, left, *_ in days][1:] == [160]
    assert box[-1][3:] == (155.0, 672.0)
    assert [each[1:] for each in (*rent, *note)] == [(72.0, 600.0, 300.0, 615.0), (400.0, 555.0, 420.0, 575.0)]
    assert only.text.splitlines() == [
        "Tenant: Ada Example",
        "Notice in days: ninety",
        "Pets allowed [x]",
        "[ ] Smoking allowed",
        "Rent is 900 a month",
        "Signed in June. [note: who signs?]",
    ]


def test_columns_drawn_line_by_line_are_read_one_after_the_other(tmp_path: Path, read_all: Any) -> None:
    left = [f"line {i} of the left column, in words" for i in range(10)]
    right = [f"line {i} of the right column, too" for i in range(10)]
    rows = [line for i in range(10) for line in ((60, 700 - 14 * i, left[i]), (330, 700 - 14 * i, right[i]))]
    title, foot = (
        "A title that stands over both columns of this page and so crosses the gutter",
        "A remark below both of them, as wide as the page is, which comes last of all",
    )
    (tmp_path / "a.pdf").write_bytes(pdf(drawn((60, 740, title), *rows, (60, 520, foot))))
    (only,) = read_all(tmp_path)
    assert only.text.splitlines() == [title, *left, *right, foot]


def test_the_rows_of_a_table_stay_rows(tmp_path: Path, read_all: Any) -> None:
    rows = [
        cell
        for i in range(12)
        for cell in (
            (60, 700 - 14 * i, f"Article {i}"),
            (300, 700 - 14 * i, f"{i}.50"),
            (480, 700 - 14 * i, f"{i} left"),
        )
    ]
    (tmp_path / "a.pdf").write_bytes(pdf(drawn(*rows)))
    (only,) = read_all(tmp_path)
    assert only.text.splitlines() == [f"Article {i}\t{i}.50\t{i} left" for i in range(12)]


def test_quotes_are_found_on_their_pages_a_box_a_line_by_their_letters_alone() -> None:
    first = drawn((72, 700, "The rent is nine hun-"), (72, 680, "dred a month."), (72, 600, "The rent is due"))
    second = drawn((90, 700, "on the first day."))
    quotes = [
        (1, "rent is  nine hundred"),
        (1, "due on the first"),
        (2, "FIRST day"),
        (1, "not there"),
        (7, "x"),
        (1, " "),
    ]
    one, over, two, *none = quote_boxes(pdf(first, second), InputSettings(paths=["x"]), quotes)
    assert [(page, round(bottom)) for page, _, bottom, *_ in one] == [(1, 700), (1, 680)]
    assert one[0][1] > 72  # it begins after "The"
    assert all(left < right and bottom < top for _, left, bottom, right, top in one)
    assert [page for page, *_ in over] == [1, 2]
    assert [page for page, *_ in two] == [2]
    assert none == [[], [], []]


def test_of_words_that_stand_twice_those_are_found_before_which_the_same_stands() -> None:
    page = drawn((72, 700, "Paid: 40. Due on May 1."), (72, 680, "Owed: 40. Due on May 1."), (72, 660, "40"))
    quotes = [(1, "40"), (1, "40", "Paid: "), (1, "40", "May 1.\nOwed: "), (1, "40", "Due on May 1. "), (1, "40", "x")]
    found = quote_boxes(pdf(page), InputSettings(paths=["x"]), quotes)
    assert [round(box[2]) for (box,) in found] == [700, 700, 680, 660, 700]


def placed(visual: str) -> tuple[str, list[tuple[float, float, float, float]]]:
    """Letters as they stand on a page from left to right, drawn in that order."""
    return visual, [
        (0.0, 0.0, 0.0, 0.0) if c == " " else (10.0 * i, 0.0, 10.0 * i + 9, 9.0) for i, c in enumerate(visual)
    ]


@pytest.mark.parametrize(
    ("visual", "text"),
    [
        ("05.8061 דיחא רועיש", "שיעור אחיד 1608.50"),
        ("50.12 nalp orP יונמ", "מנוי Pro plan 21.05"),
        ("שיעור אחיד", "דיחא רועיש"),
    ],
)
def test_lines_from_right_to_left_that_are_torn_are_laid_anew(visual: str, text: str) -> None:
    visual = (
        visual
        if visual.startswith("ש")
        else visual.replace("05.8061", "1608.50").replace("50.12", "21.05").replace("nalp orP", "Pro plan")
    )
    assert relaid(*placed(visual)) == text


def test_a_line_from_right_to_left_in_order_stays_and_a_real_torn_page_is_mended(data: Path, read_all: Any) -> None:
    letters, boxes = placed("דיחא רועיש")
    assert relaid(letters[::-1], boxes[::-1]) == letters[::-1]
    (only,) = read_all(data / "nested" / "docubench" / "documents" / "qQUPWQNA.pdf")
    assert "סניפי בנקים מסחריים נקבע שיעור ארנונה אחיד 1605.80 ₪" in only.text
    (only,) = read_all(data / "nested" / "docubench" / "documents" / "nESapyAA.pdf")
    assert "www.greeninvoice.co.il" in only.text


REPORT = [
    drawn(
        (60, 770, "Annual report of Example Ltd"),
        *((60, 700 - 14 * i, f"Body {page}-{i * page} in words") for i in range(5)),
        (60, 40, f"1,{page}45"),
        (300, 30, f"Page {page + 1} of 6"),
    )
    for page in range(6)
]


@pytest.mark.parametrize(("mode", "heads", "feet"), [("once", 1, 1), ("drop", 0, 0), ("keep", 6, 6)])
def test_heads_and_feet_that_pages_repeat_stand_once_and_rows_that_look_alike_stay(
    tmp_path: Path, read_all: Any, mode: str, heads: int, feet: int
) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(*REPORT))
    (only,) = read_all(tmp_path, running_heads=mode)
    assert (only.text.count("Annual report"), only.text.count(" of 6")) == (heads, feet)
    assert [f"1,{page}45" in only.text for page in range(6)] == [True] * 6
    assert only.text.count("Body") == 30
    assert [
        only.text[mark.start :].lstrip("\n").startswith(("Annual", f"Body {i}-0")) for i, mark in enumerate(only.marks)
    ] == [True] * 6


def test_far_too_little_text_for_its_pages_is_a_doubt(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(*(f"stamp of page {page}" for page in "abcdef")))
    (tmp_path / "b.pdf").write_bytes(
        pdf(*("a whole page has more words than a stamp on a scan " * 2 for _ in range(6)))
    )
    thin, whole = read_all(tmp_path)
    assert thin.doubt[0] == "thin_text"
    assert "6 pages" in thin.doubt[1]
    assert whole.doubt is None


def test_many_threads_read_many_pdfs(tmp_path: Path) -> None:
    for i in range(40):
        (tmp_path / f"{i:02}.pdf").write_bytes(pdf(f"number {i}"))
    job = InputSettings(paths=[str(tmp_path)])
    sources = discover(job).sources
    texts: dict[int, str] = {}

    def work(first: int) -> None:
        for i in range(first, 40, 4):
            texts[i] = next(read(sources[i], job)).text

    threads = [threading.Thread(target=work, args=(first,)) for first in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {i: f"number {i}" for i in range(40)}


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSEGV])
def test_a_child_that_dies_fails_its_document_and_the_next_one_gets_another(blow: signal.Signals) -> None:
    job = InputSettings(paths=["x"])
    with sandbox(job) as box:
        child = box._process.pid
    with sandbox(job) as box:
        assert box._process.pid == child  # it is kept for the next file
        os.kill(child, blow)
        with pytest.raises(DocumentError) as caught:
            list(box.ask("pdf", as_request(b"x" * 10_000_000, ReadOptions())))
    assert caught.value.kind == "crashed"
    with sandbox(job) as box:
        assert box._process.pid != child
        assert b"alive" in b"".join(box.ask("pdf", as_request(pdf("alive"), ReadOptions())))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_has_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSLAB_API_KEY", "sk-very-secret")
    close_sandboxes()
    with sandbox(InputSettings(paths=["x"])) as box:
        assert list(box.ask("pdf", as_request(pdf("text"), ReadOptions())))
        for name in ("environ", "cmdline"):
            assert b"sk-very-secret" not in Path(f"/proc/{box._process.pid}/{name}").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_end_with_us_even_when_we_are_killed() -> None:
    script = """
import os, signal
from docreduce.settings import InputSettings
from docreduce.readers.pdf import _whole_words
from docreduce.readers.sandbox import sandbox
with sandbox(InputSettings(paths=["x"])) as box:
    print(box._process.pid, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=30)
    child = Path(f"/proc/{done.stdout.strip()}")
    for _ in range(200):
        if not child.exists() or "Z" in (child / "stat").read_text().split(")")[1][:3]:
            return
        threading.Event().wait(0.05)
    pytest.fail("the child outlived its parent")


@pytest.mark.skipif(os.name == "nt", reason="POSIX process groups")
def test_an_interrupt_in_the_terminal_does_not_reach_a_child() -> None:
    with sandbox(InputSettings(paths=["x"])) as box:
        assert os.getpgid(box._process.pid) != os.getpgid(0)


def test_a_word_hyphenated_at_a_line_end_is_whole_where_the_document_says_so() -> None:
    pages = ["a regis\ufffetration, non\ufffeexclusive \ufffe x", "the Registration"]
    assert _whole_words(pages) == ["a registration, non-exclusive - x", "the Registration"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX limits")
def test_too_many_open_files_is_the_machines_fault_and_not_the_documents(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("text")
    script = """
import resource, sys
from docreduce.settings import InputSettings
from docreduce.values.errors import MachineError
from docreduce.readers import discover, read
job = InputSettings(paths=[sys.argv[1]])
(source,) = discover(job).sources
resource.setrlimit(resource.RLIMIT_NOFILE, (20, 20))
held = []
try:
    while len(held) < 30:
        held.append(open(sys.argv[1]))
except OSError:
    pass
try:
    print(list(read(source, job)))
except MachineError as error:
    print("machine", error.hint)
"""
    command = [sys.executable, "-c", script, str(tmp_path / "a.txt")]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("machine Too many open files")


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"\w+", text))


def test_contracts_come_out_of_their_pdfs_word_for_word(data: Path, read_all: Any) -> None:
    found = read_all(data / "contracts" / "pdf", running_heads="keep")
    assert found
    for document in found:
        expected = words((data / "contracts" / "txt" / (Path(document.uri).stem + ".txt")).read_text())
        assert (expected & words(document.text)).total() == expected.total()


def test_cells_of_figures_do_not_run_into_one_number(tmp_path: Path, read_all: Any) -> None:
    (tmp_path / "a.pdf").write_bytes(pdf(drawn((60, 700, "Stock 3"), (200, 700, "9 043,86"), (300, 700, "10 002,38"))))
    (only,) = read_all(tmp_path)
    assert only.text == "Stock 3\t9 043,86\t10 002,38"
