"""The child process in which PDF, HTML and Parquet are read: a crash, a hang or a bomb ends it and nothing else.

Run as a script, so that it starts without the rest of the package. Frames both ways: one byte of kind, eight of
length, the payload. What it is asked, and what it answers:
  P, a PDF's bytes          Z, JSON: pages
  H, a page's markup        Z, JSON: text, headings
  T, JSON: a table's path   J, JSON: columns
  C, JSON: the columns      B, an Arrow stream of one batch, again and again, then Z
Or, at any time, E, JSON: kind and message of what is wrong with the file.
"""

from __future__ import annotations

import faulthandler
import json
import os
import sys
from pathlib import Path
from typing import Any

__all__: list[str] = []

_BATCH_BYTES = 2**24
_BATCH_ROWS = 4096
_CRASHED = 70  # 1 is what faulthandler leaves with when the time is over


class _Refused(Exception):  # noqa: N818
    """What is wrong with the file: a kind, as in DocumentError, and a message."""

    def __init__(self, kind: str, message: str) -> None:
        super().__init__(message)
        self.kind = kind


def main() -> None:
    """Answer frames until stdin closes. argv: the memory limit in bytes, the time limit of an answer in seconds."""
    sys.excepthook = lambda *_: os._exit(_CRASHED)
    _limit_memory(int(sys.argv[1]))
    pipe = _Pipe(float(sys.argv[2]))
    while frame := pipe.receive():
        kind, payload = frame
        try:
            if kind == b"P":
                pipe.send(b"Z", json.dumps({"pages": _pdf_pages(payload)}).encode())
            elif kind == b"H":
                pipe.send(b"Z", json.dumps(_page(payload.decode())).encode())
            else:
                _send_table(pipe, json.loads(payload)["path"])
        except _Refused as error:
            pipe.send(b"E", json.dumps({"kind": error.kind, "message": str(error)}).encode())
        except MemoryError:
            pipe.send(b"E", b'{"kind": "too_large", "message": "reading it takes more memory than allowed"}')


class _Pipe:
    """The frames to and from the parent. The clock runs from one frame received or sent to the next one sent:
    then this process ends itself, by a thread that needs no GIL, whatever a library is at, parent or no parent."""

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s
        self._requests = sys.stdin.buffer
        self._answers = os.fdopen(os.dup(1), "wb", buffering=0)
        self._silence = Path(os.devnull).open("w")  # noqa: SIM115
        os.dup2(self._silence.fileno(), 1)  # a library that prints must not break the frames

    def receive(self) -> tuple[bytes, bytes] | None:
        faulthandler.cancel_dump_traceback_later()
        head = self._requests.read(9)
        payload = self._requests.read(int.from_bytes(head[1:], "big"))
        self._start_clock()
        return (head[:1], payload) if len(head) == 9 else None

    def send(self, kind: bytes, payload: bytes) -> None:
        faulthandler.cancel_dump_traceback_later()  # the parent may take its time to read
        view = memoryview(kind + len(payload).to_bytes(8, "big") + payload)
        while view:  # an unbuffered pipe may take less than all
            view = view[self._answers.write(view) :]
        self._start_clock()

    def _start_clock(self) -> None:
        faulthandler.dump_traceback_later(self._timeout_s, exit=True, file=self._silence)


def _limit_memory(limit_bytes: int) -> None:
    try:
        import resource
    except ImportError:  # Windows has no such limit; the time limit stands
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":  # macOS counts shared caches and refuses
        resource.setrlimit(resource.RLIMIT_AS, (limit_bytes, limit_bytes))


def _pdf_pages(data: bytes) -> list[str]:
    import pypdfium2
    import pypdfium2.raw as pdfium

    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        if pdfium.FPDF_GetLastError() in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY):
            raise _Refused("encrypted", "the PDF is encrypted and needs a password") from error
        raise _Refused("unreadable", f"the PDF is damaged: {error}") from error
    pages: list[str] = []
    try:
        for number in range(len(document)):
            try:
                page = document[number]
                textpage = page.get_textpage()
            except pypdfium2.PdfiumError as error:  # leaving it out would be a loss that nobody sees
                raise _Refused("unreadable", f"page {number + 1} of {len(document)} is damaged: {error}") from error
            pages.append(textpage.get_text_range())
            textpage.close()
            page.close()
    finally:
        document.close()
    return pages


def _page(markup: str) -> dict[str, Any]:
    from pipeline.readers.html import extract

    page = extract(markup)
    return {"text": page.text, "headings": [[mark.start, mark.label, mark.level] for mark in page.marks]}


def _send_table(pipe: _Pipe, path: str) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.ParquetFile(path)
        columns = table.schema_arrow.names
        pipe.send(b"J", json.dumps({"columns": columns}).encode())
        frame = pipe.receive()
        if frame is None:
            return
        wanted = json.loads(frame[1])
        for batch in table.iter_batches(_batch_rows(table), columns=wanted, use_threads=False):
            sink = pa.BufferOutputStream()
            with pa.ipc.new_stream(sink, batch.schema) as writer:
                writer.write_batch(batch)
            pipe.send(b"B", sink.getvalue().to_pybytes())
        pipe.send(b"Z", b"")
    except pa.ArrowMemoryError:
        raise MemoryError from None
    except BrokenPipeError:
        raise
    except (pa.ArrowException, OSError, ValueError) as error:
        kind = "encrypted" if "encrypted" in str(error) or "decryption" in str(error) else "unreadable"
        raise _Refused(kind, f"the Parquet file is damaged: {str(error)[:300]}") from error


def _batch_rows(table: Any) -> int:
    """Rows that make up about 16 MB unpacked, as far as the file's own metadata is true."""
    groups = [table.metadata.row_group(i) for i in range(table.metadata.num_row_groups)]
    row_bytes = max((group.total_byte_size / max(group.num_rows, 1) for group in groups), default=1.0)
    return int(min(max(_BATCH_BYTES / max(row_bytes, 1.0), 1), _BATCH_ROWS))


if __name__ == "__main__":
    main()
