"""PDF: pages, and children that hang, crash or eat memory without harm to anybody else."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from docreduce.config import InputSettings
from docreduce.readers import Unread, close_sandboxes, discover, read
from docreduce.readers.pdf import _whole_words
from docreduce.readers.sandbox import sandbox
from docreduce.values.errors import DocumentError


def pdf(*pages: str) -> bytes:
    """A PDF with a line of text on each page, written by hand."""
    count = len(pages)
    kids = " ".join(f"{4 + 2 * i} 0 R" for i in range(count))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {count} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for i, text in enumerate(pages):
        stream = f"BT /F1 12 Tf 72 700 Td ({text}) Tj ET"
        objects.append(
            f"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents {5 + 2 * i} 0 R "
            "/Resources << /Font << /F1 3 0 R >> >> >>"
        )
        objects.append(f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream")
    out = bytearray(b"%PDF-1.4\n")
    offsets = []
    for number, body in enumerate(objects, 1):
        offsets.append(len(out))
        out += f"{number} 0 obj\n{body}\nendobj\n".encode("latin-1")
    xref = len(out)
    out += f"xref\n0 {len(objects) + 1}\n0000000000 65535 f \n".encode()
    out += b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    return bytes(out + f"trailer << /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{xref}\n%%EOF".encode())


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
            list(box.ask("pdf", b"x" * 10_000_000))
    assert caught.value.kind == "crashed"
    with sandbox(job) as box:
        assert box._process.pid != child
        assert b"alive" in b"".join(box.ask("pdf", pdf("alive")))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_child_has_no_secret_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELSLAB_API_KEY", "sk-very-secret")
    close_sandboxes()
    with sandbox(InputSettings(paths=["x"])) as box:
        assert list(box.ask("pdf", pdf("text")))
        for name in ("environ", "cmdline"):
            assert b"sk-very-secret" not in Path(f"/proc/{box._process.pid}/{name}").read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_children_end_with_us_even_when_we_are_killed() -> None:
    script = """
import os, signal
from docreduce.config import InputSettings
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
from docreduce.config import InputSettings
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
    found = read_all(data / "contracts" / "pdf")
    assert found
    for document in found:
        expected = words((data / "contracts" / "txt" / (Path(document.uri).stem + ".txt")).read_text())
        assert (expected & words(document.text)).total() == expected.total()
