"""Several files at once: the same documents in the same order, within bounds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from docreduce.readers import discover, read, read_all
from docreduce.readers.ahead import ahead
from docreduce.settings import InputSettings
from docreduce.values import Document
from docreduce.values.errors import MachineError
from packing import docx, packed

JOB = InputSettings(paths=["x"], text_column="body")


def document(name: str) -> Document:
    return Document(id=name, uri=name, text=name, media_type="text/plain")


@pytest.mark.parametrize("workers", [1, 3, 50])
def test_documents_come_in_the_order_of_the_input_however_many_are_read_at_once(tmp_path: Path, workers: int) -> None:
    for i in range(12):
        (tmp_path / f"{i:02}.docx").write_bytes(docx(f"<w:p><w:r><w:t>number {i}</w:t></w:r></w:p>"))
        (tmp_path / f"{i:02}.jsonl").write_text("".join(f'{{"body": "row {i} {row}"}}\n' for row in range(30)))
    (tmp_path / "13.zip").write_bytes(packed({"a.txt": b"a", "b.exe": b"b"}))
    job = InputSettings(paths=[str(tmp_path)], text_column="body")
    sources = discover(job).sources
    one, many = Counter[str](), Counter[str]()
    expected = [found for source in sources for found in read(source, job, one)]
    assert list(read_all(sources, job, many, workers)) == expected
    assert one == many == {"unknown kind": 1}


def test_no_more_files_are_open_than_allowed_and_none_runs_ahead_without_bound() -> None:
    opened, given = set[str](), Counter[str]()

    def endless(source: str, settings: InputSettings, skipped: Counter[str]) -> Iterator[Document]:
        opened.add(source)
        while True:
            given[source] += 1
            yield document(source)

    documents = ahead(endless, map(str, range(100)), JOB, Counter(), 4)
    for _ in range(10):
        next(documents)
    time.sleep(0.1)
    assert opened <= {"0", "1", "2", "3"}
    assert given["1"] <= 3
    documents.close()
    for _ in range(100):
        if not any(thread.name.endswith("(_work)") and thread.is_alive() for thread in threading.enumerate()):
            break
        time.sleep(0.05)
    assert not any(thread.name.endswith("(_work)") for thread in threading.enumerate())


def test_a_fault_of_the_machine_is_raised_at_its_place() -> None:
    def failing(source: str, settings: InputSettings, skipped: Counter[str]) -> Iterator[Document]:
        yield document(source)
        if source == "1":
            raise MachineError("too many open files")

    documents = ahead(failing, map(str, range(5)), JOB, Counter(), 3)
    assert [next(documents).id for _ in range(2)] == ["0", "1"]
    with pytest.raises(MachineError):
        next(documents)
