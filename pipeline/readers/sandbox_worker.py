"""The child process in which formats that need a parser are read: a crash, a hang or a bomb ends it and nothing else.

Messages both ways are pairs: a name and its content. A request is named by its format and holds the file's bytes
after a line of JSON with the options (Parquet: JSON). Its answers are any number of `more`, then `end`, or `error` with
what is wrong with the file.
"""

from __future__ import annotations

import dataclasses
import faulthandler
import json
import os
import resource
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection

import orjson
from docreduce.readers import arrow, avro, boxes, pages, parquet, sheets
from docreduce.readers.base import FileFormat, ReadOptions
from docreduce.readers.columnar import Reader, answers
from docreduce.readers.registry import FORMATS
from docreduce.values.errors import DocumentError
from docreduce.values.unicode import well_formed

__all__: list[str] = []

_READERS = {known.name: known.read for known in FORMATS if isinstance(known, FileFormat)}
_TABLES: dict[str, Reader] = {
    "parquet": parquet.parts,
    "arrow": arrow.parts,
    "avro": avro.parts,
    "sheets": sheets.parts,
}
_CRASHED = 70  # 1 is what faulthandler leaves with when the time is over


def main() -> None:
    """Answer requests until the parent is gone. argv: the pipe's file number, the memory limit in bytes, the time limit
    of an answer in seconds.

    The clock runs from a message received or sent to the next one sent: then this process ends itself, by a thread that
    needs no GIL, whatever a library is at, parent or no parent."""
    sys.excepthook = lambda *_: os._exit(_CRASHED)
    pipe, timeout_s = Connection(int(sys.argv[1])), float(sys.argv[3])
    _limit_memory(int(sys.argv[2]))

    def send(name: bytes, content: bytes) -> None:
        faulthandler.cancel_dump_traceback_later()  # the parent may take its time to read
        pipe.send_bytes(name)
        pipe.send_bytes(content)
        faulthandler.dump_traceback_later(timeout_s, exit=True)

    while True:
        name, payload = pipe.recv_bytes().decode(), pipe.recv_bytes()
        faulthandler.dump_traceback_later(timeout_s, exit=True)
        try:
            for answer in _answers(name, payload):
                send(b"more", answer)
            send(b"end", b"")
        except DocumentError as error:
            send(b"error", json.dumps([error.message, error.hint, error.kind]).encode())
        except MemoryError:
            send(b"error", b'["reading it takes more memory than allowed", "", "too_large"]')
        faulthandler.cancel_dump_traceback_later()


def _answers(name: str, payload: bytes) -> Iterator[bytes]:
    if name in _TABLES:
        yield from answers(_TABLES[name], **json.loads(payload))
        return
    if name == "boxes":
        yield boxes.answer(payload)
        return
    if name == "pages":
        yield from pages.answers(payload)
        return
    head = payload.index(b"\n")
    found = _READERS[name](payload[head + 1 :], ReadOptions(**orjson.loads(payload[:head])))
    yield orjson.dumps(
        {
            "text": well_formed(found.text),
            "marks": [[well_formed(part) for part in dataclasses.astuple(mark)] for mark in found.marks],
            "doubt": found.doubt,
            "attachments": [well_formed(attachment.name) for attachment in found.attachments],
        }
    )
    for attachment in found.attachments:
        yield attachment.content


def _limit_memory(limit_bytes: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS counts shared caches and refuses
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


if __name__ == "__main__":
    main()
