"""Objects at addresses: what is listed, fetched whole or failed with its reason, against servers on loopback."""

from __future__ import annotations

import contextlib
import socket
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.readers import Unread, content_of, discover, evidence_pages, read
from docreduce.settings import InputSettings
from docreduce.storage import is_address, parse_address
from docreduce.values import Document
from docreduce.values.errors import JobError
from pdfs import pdf
from serving import Server, moto, table

pytest.importorskip("obstore", reason="obstore is not installed")
PDF = pdf("The old bridge was closed.")
TABLE = "text\n" + "The ferry left at nine.\n" * 60_000  # more than one megabyte
TEXT = "The ferry left at nine. Nobody was hurt. " * 40_000  # more than one piece


class _Web(BaseHTTPRequestHandler):
    """Gives TEXT at any path; the path says what goes wrong."""

    protocol_version = "HTTP/1.1"
    asked: ClassVar[list[str]] = []

    def log_message(self, *_: object) -> None:
        """Quiet."""

    def do_HEAD(self) -> None:
        self._head(200, '"second"' if "changed" in self.path else '"first"', len(TEXT))

    def do_GET(self) -> None:
        self.asked.append(self.path)
        for status in (403, 404, 503):
            if str(status) in self.path and (status != 503 or "ever" in self.path or self.asked.count(self.path) == 1):
                self._head(status, None, 0)
                return
        wanted = self.headers.get("range")
        start = int(wanted.removeprefix("bytes=").rstrip("-").split("-")[0]) if wanted else 0
        body = PDF if "pdf" in self.path else (TABLE if "rows" in self.path else TEXT).encode()
        self._head(
            206 if wanted else 200, '"second"' if wanted and "changed" in self.path else '"first"', len(body), start
        )
        breaks = ("changed" in self.path or "once" in self.path) and not wanted
        self.wfile.write(body[start : start + 300_000 if breaks else None])
        if breaks:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

    def _head(self, status: int, etag: str | None, size: int, start: int = 0) -> None:
        self.send_response(status)
        if etag:
            self.send_header("ETag", etag)
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()


@pytest.fixture
def web() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Web)
    _Web.asked.clear()
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def _only(address: str, **settings: object) -> Document | Unread:
    given = InputSettings.model_validate({"paths": [address], **settings})
    (source,) = discover(given).sources
    (found,) = read(source, given)
    assert found.uri == address
    return found


def test_a_file_of_a_web_server_is_read_as_a_local_one(web: str, tmp_path: Path) -> None:
    (tmp_path / "a b.txt").write_text(TEXT)
    (local,) = read(str(tmp_path / "a b.txt"), InputSettings(paths=["x"]))
    found = _only(f"{web}/in/a b.txt")
    assert isinstance(found, Document)
    assert isinstance(local, Document)
    assert (found.id, found.text, found.media_type) == (local.id, local.text, local.media_type)
    assert _Web.asked == ["/in/a%20b.txt"]


def test_a_body_that_breaks_off_is_read_on_from_there(web: str) -> None:
    found = _only(f"{web}/once.txt")
    assert isinstance(found, Document)
    assert found.text.strip() == TEXT.strip()
    assert _Web.asked == ["/once.txt", "/once.txt"]


@pytest.mark.parametrize(
    ("path", "said"), [("404.txt", "not found"), ("403.txt", "no access"), ("changed.txt", "changed while it was read")]
)
def test_an_object_that_cannot_be_had_whole_is_a_failed_row_that_says_why(web: str, path: str, said: str) -> None:
    found = _only(f"{web}/{path}")
    assert isinstance(found, Unread)
    assert found.error.kind == "remote"
    assert said in found.error.message


def test_an_object_that_is_too_large_is_not_fetched(web: str) -> None:
    found = _only(f"{web}/large.txt", max_document_mb=1)
    assert isinstance(found, Unread)
    assert found.error.kind == "too_large"


@pytest.mark.long
def test_a_table_that_is_larger_than_a_document_may_be_is_read_as_a_local_one(web: str) -> None:
    given = InputSettings.model_validate({"paths": [f"{web}/rows.csv"], "max_document_mb": 1, "text_column": "text"})
    (source,) = discover(given).sources
    found = list(read(source, given))
    assert [isinstance(row, Document) and row.text for row in found] == ["The ferry left at nine."] * 60_000


def test_pages_of_an_object_are_shown_as_those_of_a_file(web: str) -> None:
    address, settings, quotes = f"{web}/bridge.pdf", InputSettings(paths=["x"]), [(1, "closed")]
    (document,) = read(address, settings)
    raw = content_of(address, settings, address, document.id)
    assert raw == PDF
    (page,) = evidence_pages(raw, settings, quotes)
    assert (page.number, len(page.spots), (page.png or b"")[:4]) == (1, 1, b"\x89PNG")


@pytest.mark.long
def test_a_server_without_room_is_asked_again_and_not_for_ever(web: str) -> None:
    assert isinstance(_only(f"{web}/503.txt"), Document)
    found = _only(f"{web}/503-ever.txt")
    assert isinstance(found, Unread)
    assert "503" in found.error.message
    assert _Web.asked.count("/503-ever.txt") == 5


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("https://host/", "cannot be listed"),
        ("https://user:secret@host/a.txt", "password"),
        ("https://host/a.txt?sig=secret", "query"),
        ("http://example.org/a.txt", "only https"),
        ("hdfs://host/a.txt", "no store of this kind"),
    ],
)
def test_an_address_that_cannot_be_read_is_an_error_of_the_job_without_its_secret(address: str, said: str) -> None:
    with pytest.raises(JobError, match=said) as caught:
        discover(InputSettings(paths=[address]))
    assert "secret" not in caught.value.message + caught.value.hint
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("address", ["az://container/a.txt", "gs://bucket/a.txt"])
def test_an_environment_that_does_not_say_how_to_reach_a_store_is_an_error_of_the_job(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, address: str
) -> None:
    (tmp_path / "account.json").write_text('{"private_key": "secret"}')
    monkeypatch.setenv("GOOGLE_SERVICE_ACCOUNT", str(tmp_path / "account.json"))
    for name in ("AZURE_STORAGE_ACCOUNT_NAME", "AZURE_STORAGE_ACCOUNT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(JobError, match=address[:5]) as caught:
        discover(InputSettings(paths=[address]))
    assert "secret" not in caught.value.message
    assert len(caught.value.message.splitlines()) == 1


@pytest.mark.parametrize("path", ["https://host/out", "ftp://host/out", "s3://", "s3://key@bucket/out"])
def test_results_at_an_address_that_takes_none_are_refused(tmp_path: Path, path: str) -> None:
    job = tmp_path / "job.toml"
    job.write_text(f'name = "n"\nkind = "summarize"\n[input]\npaths = ["x"]\n[output]\npath = "{path}"\n')
    with pytest.raises(JobError, match=r"output\.path"):
        load_job(job)


def test_what_is_an_address_and_what_is_a_path() -> None:
    assert [is_address(each) for each in ("s3://b/k", "S3://b/k", "./s3:/b", "a://b", "C:/a")] == [
        True, True, False, False, False,
    ]  # fmt: skip
    assert parse_address("S3://Bucket/a%20b/").key == "a%20b"  # a key is its name, not its URL


@contextlib.contextmanager
def _bucket(monkeypatch: pytest.MonkeyPatch, objects: dict[str, bytes]) -> Iterator[Server]:
    with moto() as server:
        settings = {"AWS_ENDPOINT_URL": server.url, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "hidden-word"}
        for name, value in {**settings, "AWS_REGION": "us-east-1"}.items():
            monkeypatch.setenv(name, value)
        for key, body in {"": b"", **objects}.items():
            place = f"{server.url}/papers/{urllib.parse.quote(key)}".rstrip("/")
            put = urllib.request.Request(place, body, {"Content-Type": "text/plain"}, method="PUT")
            with urllib.request.urlopen(put, timeout=30) as answer:
                assert answer.status == 200
        yield server


OBJECTS = {
    "2026/a.txt": b"The ferry left at nine.",
    "2026/b c%20d.md": b"# Harbour\n\nNobody was hurt.",
    "2026/deep/c.txt": b"The crew slept.",
    "2026/deep/d.parquet.xyz": b"?",
    "2026/.hidden.txt": b"hidden",
    "2026/[odd].txt": b"odd",
    "2027/e.txt": b"The bridge closed.",
}


@pytest.mark.server
def test_prefixes_globs_and_keys_of_s3_name_what_folders_globs_and_files_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for key, body in OBJECTS.items():
        (tmp_path / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / key).write_bytes(body)
    with _bucket(monkeypatch, OBJECTS):
        asked = ("2026/", "2026", "", "*/a.txt", "2026/*", "2026/**/*.txt", "**", "2026/[odd].txt", "2026/d*/*.xyz")
        for path in asked:
            there = discover(InputSettings(paths=[f"s3://papers/{path}"], exclude=["e.*"]))
            here = discover(InputSettings(paths=[f"{tmp_path}/{path}"], exclude=["e.*"]))
            assert [each.removeprefix("s3://papers/") for each in there.sources] == [
                each.removeprefix(f"{tmp_path}/") for each in here.sources
            ], path
            assert there.left_out == here.left_out, path
        for wrong in ("s3://papers/2028/", "s3://papers/2026/x.txt", "s3://papers/*.pdf", "s3://nowhere/a/"):
            with pytest.raises(JobError, match=r"input\.paths") as caught:
                discover(InputSettings(paths=[wrong]))
            assert "hidden-word" not in caught.value.message


@pytest.mark.server
def test_a_run_over_s3_has_the_rows_of_a_run_over_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for key, body in OBJECTS.items():
        (tmp_path / "in" / key).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "in" / key).write_bytes(body)
    rows = {}
    with _bucket(monkeypatch, OBJECTS):
        for name, path in {"here": f"{tmp_path}/in/", "there": "s3://papers/"}.items():
            job = tmp_path / f"{name}.toml"
            job.write_text(
                f'name = "{name}"\nkind = "summarize"\n[input]\npaths = ["{path}"]\n'
                f'[output]\npath = "{tmp_path}/{name}"\n'
            )
            manifest = run_job(load_job(job), RunOptions())
            assert exit_code(manifest) == 0, table(manifest, "documents")["uri", "error"].rows()
            found = table(manifest, "documents").select("uri", "document_id", "status", "summary", "chars").rows()
            rows[name] = [(uri.removeprefix(path), *rest) for uri, *rest in found]
    assert rows["there"] == rows["here"]
    assert len(rows["here"]) == 5
