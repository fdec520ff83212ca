"""Runs whose results go to a store: killed at any upload, refused by the store, and finished by the same command."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from serving import Server, moto

obstore = pytest.importorskip("obstore", reason="obstore is not installed")
pytestmark = [pytest.mark.server, pytest.mark.long]
KEYS = {"access_key_id": "k", "secret_access_key": "s"}
TEXTS = {"a.txt": "The ferry left at nine.", "b.txt": "Nobody was hurt.", "deep/c.txt": "The crew slept."}


@contextlib.contextmanager
def _before(server: Server, put: Callable[[int], bool]) -> Iterator[str]:
    """A proxy in front of a store; a PUT, by its number from 1, is passed on where `put` says so, else refused."""
    count = 0

    class Proxy(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: object) -> None:
            """Quiet."""

        def handle(self) -> None:
            with contextlib.suppress(ConnectionError):  # the run was killed
                super().handle()

        def do_GET(self) -> None:
            nonlocal count
            body = self.rfile.read(int(self.headers.get("content-length", "0")))
            if self.command == "PUT":
                count += 1
                if not put(count):
                    self._say(403, {}, b"")
                    return
            asked = urllib.request.Request(
                server.url + self.path, body or None, dict(self.headers), method=self.command
            )
            try:
                with urllib.request.urlopen(asked, timeout=30) as answer:
                    self._say(answer.status, dict(answer.headers), answer.read())
            except urllib.error.HTTPError as error:
                self._say(error.code, dict(error.headers), error.read())

        do_PUT = do_GET  # noqa: N815 - as the class wants it
        do_HEAD = do_GET  # noqa: N815

        def _say(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("content-length", "connection", "transfer-encoding"):
                    self.send_header(name, value)
            size = headers.get("Content-Length", "0") if self.command == "HEAD" else str(len(body))
            self.send_header("Content-Length", size)
            self.end_headers()
            self.wfile.write(body)

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    threading.Thread(target=proxy.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{proxy.server_port}"
    finally:
        proxy.shutdown()
        proxy.server_close()


def _put(server: Server, key: str, body: str = "") -> None:
    asked = urllib.request.Request(f"{server.url}/{key}", body.encode(), {"Content-Type": "text/plain"}, method="PUT")
    with urllib.request.urlopen(asked, timeout=30) as answer:
        assert answer.status == 200


def _start(folder: Path, endpoint: str, *flags: str) -> subprocess.Popen[str]:
    keys = {
        "AWS_ENDPOINT_URL": endpoint,
        "AWS_ACCESS_KEY_ID": "k",
        "AWS_SECRET_ACCESS_KEY": "s",
        "AWS_REGION": "us-east-1",
    }
    command = [sys.executable, "-m", "docreduce", "run", str(folder / "job.toml"), "--json", *flags]
    environment = {**os.environ, **keys, "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)


def _run(folder: Path, endpoint: str, *flags: str) -> tuple[int, dict[str, Any]]:
    with _start(folder, endpoint, *flags) as process:
        out, said = process.communicate(timeout=60)
    assert out, said
    return process.returncode, json.loads(out)


def _papers(server: Server) -> Any:
    given = {"endpoint": server.url, "region": "us-east-1"}
    return obstore.store.S3Store("papers", **KEYS, **given, client_options={"allow_http": True})


def _keys(server: Server) -> list[str]:
    return [each["path"] for page in obstore.list(_papers(server), "out") for each in page]


def _object(server: Server, key: str) -> bytes:
    return bytes(obstore.get(_papers(server), f"out/night/{key}").bytes())


def _rows(server: Server, run_id: str) -> list[Any]:
    table = pl.read_parquet(_object(server, f"{run_id}/documents.parquet"))
    return table.select("uri", "document_id", "status", "summary").rows()


def _shown(folder: Path, command: str, place: str) -> int:
    asked = [sys.executable, "-m", "docreduce", command, place]
    environment = {**os.environ, "XDG_STATE_HOME": str(folder / "state")}
    return subprocess.run(asked, capture_output=True, env=environment, check=False).returncode


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Server]:
    job = 'name = "night"\nkind = "summarize"\n[input]\npaths = ["s3://papers/"]\n[output]\npath = "s3://papers/out"\n'
    (tmp_path / "job.toml").write_text(job)
    with moto() as server:
        _put(server, "papers")
        for name, text in TEXTS.items():
            _put(server, f"papers/{name}", text)
            (tmp_path / "in" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "in" / name).write_text(text)
        yield server


def _local_rows(folder: Path, endpoint: str) -> list[Any]:
    flags = ("--output", str(folder / "here"), "--input", str(folder / "in"))
    code, manifest = _run(folder, endpoint, *flags)
    assert code == 0
    table = pl.read_parquet(f"{manifest['run_dir']}/documents.parquet")
    rows = table.select("uri", "document_id", "status", "summary").rows()
    return [(uri.replace(f"{folder}/in", "s3://papers"), *rest) for uri, *rest in rows]


def test_a_run_killed_at_any_upload_is_finished_by_the_same_command(store: Server, tmp_path: Path) -> None:
    for at in (1, 3, 5, 6):
        process: list[subprocess.Popen[str]] = []

        def kill(number: int, at: int = at, process: list[subprocess.Popen[str]] = process) -> bool:
            if number == at:
                process[0].kill()
            return number < at

        with _before(store, kill) as endpoint, _start(tmp_path, endpoint, "--fresh") as started:
            process.append(started)
            started.communicate(timeout=60)
        assert started.returncode == -9, at
        seen = {key.split("/")[2] for key in _keys(store) if key.endswith("/run.json")}
        for run_id in seen:  # whatever has a manifest is whole
            manifest = json.loads(_object(store, f"{run_id}/run.json"))
            for each in manifest["files"]:
                assert len(_object(store, f"{run_id}/{each['path']}")) == each["bytes"]
        code, manifest = _run(tmp_path, store.url)
        assert code == 0, (at, manifest)
        assert manifest["actual"]["calls"] == 0  # nothing is paid twice
        assert _object(store, "latest").decode() == manifest["run_id"]
        assert _rows(store, manifest["run_id"]) == _local_rows(tmp_path, store.url)
    for command, place in {
        "bill": "s3://papers/out",
        "failures": f"s3://papers/out/night/{manifest['run_id']}",
    }.items():
        assert _shown(tmp_path, command, place) == 0
    assert _shown(tmp_path, "bill", "s3://papers/other") == 2
    local = {each.parent.name for each in tmp_path.glob("state/docreduce/*/night/2*/run.json")}
    there = {key.split("/")[2] for key in _keys(store) if key.endswith("/run.json")}
    assert there == local
    assert len(there) == 8
    assert manifest["left_out"]["output folder"] > 0


def test_a_store_that_takes_nothing_costs_the_exit_code_and_no_result(store: Server, tmp_path: Path) -> None:
    with _before(store, lambda number: number < 3) as endpoint:
        code, manifest = _run(tmp_path, endpoint)
    assert code == 5
    (lost,) = manifest["dropped"]
    assert lost["format"] == "s3://papers/out"
    assert "the same command uploads" in lost["error"]
    assert not [key for key in _keys(store) if key.endswith("run.json")]
    assert Path(manifest["run_dir"], "run.json").is_file()
    code, again = _run(tmp_path, store.url)
    assert (code, again["actual"]["calls"]) == (0, 0)
    assert {manifest["run_id"], again["run_id"]} == {key.split("/")[2] for key in _keys(store) if "run.json" in key}


def test_the_report_follows_the_run_and_what_the_store_refused_of_it_comes_with_the_next(
    store: Server, tmp_path: Path
) -> None:
    with _before(store, lambda number: number != 8) as endpoint:
        code, first = _run(tmp_path, endpoint)
    assert (code, first.get("dropped")) == (0, None)
    assert f"out/night/{first['run_id']}/run.json" in _keys(store)
    assert f"out/night/{first['run_id']}/report.html" not in _keys(store)
    code, second = _run(tmp_path, store.url)
    assert code == 0
    for manifest in (first, second):
        assert (
            _object(store, f"{manifest['run_id']}/report.html") == Path(manifest["run_dir"], "report.html").read_bytes()
        )
    found = obstore.get(_papers(store), f"out/night/{second['run_id']}/report.html")
    assert found.attributes["Content-Type"] == "text/html; charset=utf-8"


def test_a_bucket_that_is_not_there_is_said_before_anything_is_made(store: Server, tmp_path: Path) -> None:
    code, said = _run(tmp_path, store.url, "--output", "s3://nowhere/out")
    assert code == 2
    assert "nowhere" in said["error"]["message"]
    assert not (tmp_path / "state").exists()
    code, said = _run(tmp_path, store.url, "--output", "s3://papers/out", "--shard", "1/2")
    assert code == 2
    assert "shards" in said["error"]["message"]
