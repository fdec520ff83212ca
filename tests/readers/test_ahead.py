"""Files read before their turn: the same documents in the same order, within bounds."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import pytest
from docreduce.readers import Slice, discover, read, read_ahead
from docreduce.readers.ahead import ahead
from docreduce.settings import InputSettings
from docreduce.values import Document
from docreduce.values.errors import MachineError
from packing import docx, packed


def document(name: str) -> Document:
    return Document(id=name, uri=name, text=name, media_type="text/plain")


def is_apart(_: str) -> bool:
    return True


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
    files = read_ahead([Slice(source) for source in sources], job, many, workers=workers)
    assert list(chain.from_iterable(files)) == expected
    assert one == many == {"unknown kind": 1}


def test_no_more_files_are_open_than_allowed_and_none_runs_ahead_without_bound() -> None:
    opened, given = set[str](), Counter[str]()

    def endless(source: str, skipped: Counter[str]) -> Iterator[Document]:
        opened.add(source)
        while True:
            given[source] += 1
            yield document(source)

    files = ahead(endless, list(map(str, range(100))), Counter(), is_apart, 4)
    first = next(files)
    for _ in range(10):
        next(first)
    time.sleep(0.1)
    assert opened <= {"0", "1", "2", "3"}
    assert given["1"] <= 3
    files.close()
    for _ in range(100):
        if not any(thread.name.endswith("(_work)") and thread.is_alive() for thread in threading.enumerate()):
            break
        time.sleep(0.05)
    assert not any(thread.name.endswith("(_work)") for thread in threading.enumerate())


def test_what_is_read_here_is_read_at_its_turn_and_what_is_apart_before_it() -> None:
    begun: list[str] = []
    reading = threading.Event()

    def reads(source: str, skipped: Counter[str]) -> Iterator[Document]:
        begun.append(source)
        if source == "apart":
            reading.set()
        yield document(source)

    files = ahead(reads, ["text 1", "text 2", "apart", "text 3"], Counter(), lambda source: source == "apart", 2)
    first = next(files)
    assert reading.wait(10)
    assert begun == ["apart"]
    assert [each.id for each in chain(first, chain.from_iterable(files))] == ["text 1", "text 2", "apart", "text 3"]


def test_a_fault_of_the_machine_is_raised_at_its_place() -> None:
    def failing(source: str, skipped: Counter[str]) -> Iterator[Document]:
        yield document(source)
        if source == "1":
            raise MachineError("too many open files")

    documents = chain.from_iterable(ahead(failing, list(map(str, range(5))), Counter(), is_apart, 3))
    assert [next(documents).id for _ in range(2)] == ["0", "1"]
    with pytest.raises(MachineError):
        next(documents)
