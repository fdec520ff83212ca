"""Runs against aimock, a server that others wrote to fail on purpose. Skipped where node or the package is missing.

Install: `npm install --prefix .servers @copilotkit/aimock` in the project's folder."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.engine.run import exit_code
from serving import Server, aimock, get, run, table

pytestmark = pytest.mark.server

INPUT_TOKENS, OUTPUT_TOKENS = 101, 7
# In the words of both dialects.
USAGE = {
    "prompt_tokens": INPUT_TOKENS,
    "completion_tokens": OUTPUT_TOKENS,
    "input_tokens": INPUT_TOKENS,
    "output_tokens": OUTPUT_TOKENS,
}
GOOD = {"content": "The bridge was mended.", "usage": USAGE}
ALWAYS = {"match": {}, "response": GOOD}
MODEL = {"context_window": 8192}
LIMITS = {"requests_per_minute": 6000, "tokens_per_minute": 10_000_000, "concurrency": 8}
BOTH = pytest.mark.parametrize("provider", ["openai", "anthropic"])
STREAMED = pytest.mark.parametrize("stream", [False, True])


def write(folder: Path, names: Iterable[str]) -> None:
    """A document a name, with the name among its words, which is what fixtures match."""
    (folder / "in").mkdir()
    for name in names:
        path = folder / "in" / f"{name}.txt"
        path.write_text(f"The bridge called {name} was closed in May and mended in June.", encoding="utf-8")


def once(name: str, turn: int = 0, **fixture: Any) -> dict[str, Any]:
    """A fixture for one turn of a document's requests."""
    return {"match": {"userMessage": f"called {name} ", "sequenceIndex": turn}, "response": GOOD, **fixture}


def error(status: int, **more: Any) -> dict[str, Any]:
    return {"error": {"message": "planned", "type": "planned_error"}, "status": status, **more}


def attempts(manifest: dict[str, Any]) -> dict[str, list[tuple[int | None, str, str]]]:
    """(HTTP status, outcome, billing) of each document's attempts, in order."""
    calls, documents = table(manifest, "calls"), table(manifest, "documents").select("document_id", "uri")
    told: dict[str, list[tuple[int | None, str, str]]] = {}
    joined = calls.join(documents, on="document_id").sort("started_at")
    for uri, *rest in joined.select("uri", "http_status", "outcome", "billing").iter_rows():
        told.setdefault(Path(uri).stem, []).append(tuple(rest))
    return told


def served(server: Server) -> Counter[str]:
    """Requests by the status the server gave them, by its own metrics; "destroyed" where it hung up."""
    counts: Counter[str] = Counter()
    for path, status, number in re.findall(
        r'^aimock_requests_total\{method="POST",path="([^"]+)",status="(\w+)"\} (\d+)$',
        get(server, "/metrics").decode(),
        re.MULTILINE,
    ):
        assert path in {"/v1/chat/completions", "/v1/messages"}
        counts[status] += int(number)
    return counts


def assert_booked_as_served(manifest: dict[str, Any], server: Server) -> None:
    """Every request the server saw is a row; what was answered is charged as stated, and nothing else is."""
    calls = table(manifest, "calls")
    outcomes = Counter(calls["outcome"].cast(str).to_list())
    seen = served(server)
    assert outcomes["rate_limited"] == seen["429"]
    assert outcomes["server_error"] + outcomes["overloaded"] == seen["500"] + seen["503"]
    assert outcomes["connection"] == seen["destroyed"]
    assert outcomes["ok"] + outcomes["bad_body"] == seen["200"]
    charged = calls.filter(pl.col("billing") == "charged")
    assert charged["outcome"].cast(str).to_list() == ["ok"] * outcomes["ok"]
    usage = manifest["usage"]
    assert usage["input_tokens"] == charged["input_tokens"].sum() == INPUT_TOKENS * outcomes["ok"]
    assert usage["output_tokens"] == charged["output_tokens"].sum() == OUTPUT_TOKENS * outcomes["ok"]
    cost_usd = outcomes["ok"] * (INPUT_TOKENS * 1.0 + OUTPUT_TOKENS * 3.0) / 1e6
    assert manifest["cost"]["charged_usd"] == pytest.approx(cost_usd)
    # What broke off after it was sent may have been billed; a refusal was not.
    doubtful = set(calls.filter(pl.col("billing") == "unknown")["outcome"].cast(str))
    assert doubtful == {"connection", "bad_body"} & set(outcomes)


@BOTH
@STREAMED
def test_each_fault_is_met_once_named_and_overcome(tmp_path: Path, provider: str, stream: bool) -> None:
    write(tmp_path, ["fine", "limited", "down", "malformed", "gone"])
    fixtures = [
        once("limited", response=error(429, retryAfter=2)),
        once("down", response=error(503)),
        once("down", 1, response=error(500)),
        once("malformed", chaos={"malformedRate": 1}),
        once("gone", chaos={"disconnectRate": 1}),
        ALWAYS,
    ]
    with aimock(tmp_path, fixtures) as server:
        manifest = run(tmp_path, server, provider, model={**MODEL, "stream": stream}, limits=LIMITS)
        ok = (200, "ok", "charged")
        assert attempts(manifest) == {
            "fine": [ok],
            "limited": [(429, "rate_limited", "free"), ok],
            "down": [(503, "overloaded", "free"), (500, "server_error", "free"), ok],
            "malformed": [(200, "bad_body", "unknown"), ok],
            "gone": [(None, "connection", "unknown"), ok],
        }
        assert (manifest["counts"]["ok"], exit_code(manifest)) == (5, 0)
        assert_booked_as_served(manifest, server)
        limited = table(manifest, "calls").filter(pl.col("outcome") == "rate_limited")["call_key"][0]
        first, second = table(manifest, "calls").filter(pl.col("call_key") == limited)["started_at"].sort()
        assert (second - first).total_seconds() >= 2


@BOTH
@STREAMED
def test_chaos_loses_no_document_and_no_token(tmp_path: Path, provider: str, stream: bool) -> None:
    write(tmp_path, [f"B{number}" for number in range(60)])
    with aimock(tmp_path, [ALWAYS], *chaos(drop=0.1, malformed=0.1, disconnect=0.1, latency=20)) as server:
        manifest = run(tmp_path, server, provider, model={**MODEL, "stream": stream}, limits=LIMITS)
        assert_done_or_honestly_failed(manifest, 60)
        assert sum(served(server).values()) > 60
        assert_booked_as_served(manifest, server)


def test_chaos_with_refusals_that_tell_a_limit_is_sat_out(tmp_path: Path) -> None:
    write(tmp_path, [f"B{number}" for number in range(16)])
    # Each refusal tells 60 requests a minute and none left: from the first one on that is the pace.
    flags = chaos(drop=0.1, malformed=0.1, disconnect=0.1, ratelimit=0.2)
    with aimock(tmp_path, [ALWAYS], *flags) as server:
        manifest = run(tmp_path, server, "openai", model=MODEL)
        assert_done_or_honestly_failed(manifest, 16)
        assert_booked_as_served(manifest, server)


def chaos(**rates: float) -> list[str]:
    return [part for name, rate in rates.items() for part in (f"--chaos-{name}", str(rate))]


def assert_done_or_honestly_failed(manifest: dict[str, Any], count: int) -> None:
    """Six attempts against a fault in two or three: one document in a hundred or in a thousand is lost, and says so."""
    documents = table(manifest, "documents")
    assert len(documents) == count
    done, lost = documents.filter(pl.col("status") == "ok"), documents.filter(pl.col("status") == "failed")
    assert len(done) + len(lost) == count
    assert len(done) > 0.8 * count
    assert set(done["summary"]) == {GOOD["content"]}
    assert set(lost["error_kind"].cast(str)) <= {"rate_limited", "server_error", "connection", "bad_body"}


def test_a_stream_that_breaks_off_is_no_answer(tmp_path: Path) -> None:
    write(tmp_path, ["broken"])
    with aimock(tmp_path, [once("broken", truncateAfterChunks=2), ALWAYS], "--chunk-size", "5") as server:
        manifest = run(tmp_path, server, "openai", model={**MODEL, "stream": True}, limits=LIMITS)
        (first, last) = attempts(manifest)["broken"]
        assert first[1:] in {("bad_body", "unknown"), ("connection", "unknown")}
        assert last == (200, "ok", "charged")
        assert table(manifest, "documents")["summary"].to_list() == [GOOD["content"]]
        assert manifest["usage"]["input_tokens"] == INPUT_TOKENS


@BOTH
def test_a_document_that_always_fails_says_why_and_the_others_are_done(tmp_path: Path, provider: str) -> None:
    write(tmp_path, ["fine", "cursed", "refused"])
    fixtures = [
        {"match": {"userMessage": "called cursed "}, "response": error(500)},
        {"match": {"userMessage": "called refused "}, "response": error(400)},
        ALWAYS,
    ]
    with aimock(tmp_path, fixtures) as server:
        manifest = run(tmp_path, server, provider, model=MODEL, limits={**LIMITS, "max_attempts": 2})
        documents = table(manifest, "documents").sort("uri").select("status", "error_kind")
        assert documents.rows() == [("failed", "server_error"), ("ok", None), ("failed", "bad_request")]
        assert attempts(manifest)["refused"] == [(400, "bad_request", "free")]
        assert exit_code(manifest) == 1
        assert manifest["cost"]["unknown_usd"] == 0


@BOTH
@pytest.mark.parametrize("status", [401, 402, 403])
def test_a_refusal_of_the_account_stops_the_run(tmp_path: Path, provider: str, status: int) -> None:
    write(tmp_path, [f"B{number}" for number in range(30)])
    with aimock(tmp_path, [{"match": {}, "response": error(status)}]) as server:
        manifest = run(tmp_path, server, provider, model=MODEL, limits={"concurrency": 2})
        assert (manifest["status"], exit_code(manifest)) == ("refused", 4)
        assert set(table(manifest, "documents")["status"].cast(str)) == {"skipped"}
        assert served(server)[str(status)] <= 2


@BOTH
@STREAMED
def test_a_forced_tools_arguments_are_the_answer(tmp_path: Path, provider: str, stream: bool) -> None:
    write(tmp_path, ["Elbe"])
    schema = {"type": "object", "properties": {"name": {"type": "string"}, "month": {"enum": ["May", "June"]}}}
    (tmp_path / "bridge.json").write_text(json.dumps(schema), encoding="utf-8")
    item = {"name": "Elbe", "month": "May", "evidence": {"name": "called Elbe", "month": "closed in May"}}
    answer = {"toolCalls": [{"name": "record", "arguments": {"items": [item]}}], "usage": USAGE}
    with aimock(tmp_path, [{"match": {}, "response": answer}]) as server:
        model = {**MODEL, "stream": stream, "structured_output": "tools"}
        manifest = run(tmp_path, server, provider, model=model, extract={"schema": "bridge.json"})
        assert table(manifest, "records").select("status", "name", "month").rows() == [("ok", "Elbe", "May")]
        assert table(manifest, "evidence")["alignment"].cast(str).to_list() == ["exact", "exact"]
        assert_booked_as_served(manifest, server)
