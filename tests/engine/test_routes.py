"""Who is asked and what ends a run: addresses, fall-backs, refusals, and calls that stay within their ceiling."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from docreduce.config import Job, load_job
from docreduce.engine.forecast import estimate_job
from docreduce.engine.run import RunOptions, exit_code, run_job
from docreduce.simulator import Ask, Server
from runs import serving, table, write_job

SENTENCES = [
    f"On day {n} of the works the engineers measured {n * 37 % 91} millimetres at pier {n % 7}. " for n in range(900)
]
PRICE = {"input_usd_per_million": 1.0, "output_usd_per_million": 4.0}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    for n in range(6):
        (tmp_path / "in" / f"{n}.txt").write_text("".join(SENTENCES[n * 100 : n * 100 + 12 * (n + 1)]))
    return tmp_path


def endpoint(url: str, name: str = "m", **settings: Any) -> dict[str, Any]:
    return {"provider": "openai", "name": name, "base_url": f"{url}/v1", "context_window": 32_000, **settings}


def job(
    folder: Path, url: str, *, fallback: list[dict[str, Any]] | None = None, name: str = "night", **tables: Any
) -> Job:
    """A summary job over the folder's documents; keyword arguments are keys of the job file's tables."""
    settings: dict[str, dict[str, Any]] = {
        "input": {"paths": [str(folder / "in")]},
        "model": endpoint(url, max_output_tokens=200),
        "pricing": PRICE,
        "summarize": {"max_words": 40},
        "chunking": {"max_tokens": 300},
        "limits": {"concurrency": 4},
        "output": {"path": str(folder / "out")},
    }
    whole = {title: {**settings.get(title, {}), **tables.get(title, {})} for title in {**settings, **tables}}
    return load_job(write_job(folder, name, "summarize", whole), [("model.fallback", fallback)] if fallback else [])


# --- who an answer belongs to -------------------------------------------------------------------------------------


def test_a_run_against_one_address_never_answers_for_another(folder: Path) -> None:
    with serving(lambda _: "This is a rehearsal.") as rehearsal:
        first = run_job(job(folder, rehearsal.url))
    with serving(lambda _: "This is the real one.") as service:
        assert estimate_job(job(folder, service.url))["reused_calls"] == 0
        second = run_job(job(folder, service.url))
        assert service.stats()["billed_calls"] == second["counts"]["calls"] == first["counts"]["calls"] > 6
        assert set(table(second, "documents")["summary"]) == {"This is the real one."}
        assert run_job(job(folder, service.url))["counts"]["calls"] == 0


def test_a_renamed_job_reuses_what_was_paid_and_fresh_asks_again(folder: Path) -> None:
    with serving(output_words=25) as server:
        first = run_job(job(folder, server.url))
        renamed = run_job(job(folder, server.url, name="morning"))
        fresh = run_job(job(folder, server.url), RunOptions(fresh=True))
    calls = first["counts"]["calls"]
    assert (renamed["counts"]["calls"], renamed["counts"]["reused_calls"]) == (0, calls)
    assert renamed["cost"]["carried_usd"] == 0
    assert fresh["counts"]["calls"] == calls


@pytest.mark.parametrize("change", [{"temperature": 0.5}, {"max_output_tokens": 300}, {"name": "other"}])
def test_another_model_sampling_or_answer_limit_is_asked_anew(folder: Path, change: dict[str, Any]) -> None:
    with serving(output_words=25) as server:
        first = run_job(job(folder, server.url))
        second = run_job(job(folder, server.url, model={**endpoint(server.url, max_output_tokens=200), **change}))
    assert second["counts"]["calls"] == first["counts"]["calls"]


# --- calls stay within their ceiling ------------------------------------------------------------------------------

LONG = "".join(f"{word.title()} was said of the bridge. " for word in dict.fromkeys(" ".join(SENTENCES).split()))


@pytest.mark.long
@pytest.mark.parametrize(
    ("server", "model", "status"),
    [
        ({"answerer": lambda _: LONG}, {"max_output_tokens": 200}, "partial"),
        ({"answerer": lambda _: LONG[:2_000]}, {"max_output_tokens": 1_000}, "ok"),
        ({"faults": {"cut": 1.0}}, {"max_output_tokens": 200}, "partial"),
    ],
    ids=["fills its limit", "writes more words than asked for", "always cuts"],
)
def test_whatever_a_model_does_calls_stay_within_the_estimates_ceiling(
    folder: Path, server: dict[str, Any], model: dict[str, Any], status: str
) -> None:
    with serving(**server) as service:
        asked = job(folder, service.url, model=model, summarize={"max_words": 300}, chunking={"max_tokens": 700})
        estimate = estimate_job(asked)
        manifest = run_job(asked)
    documents = table(manifest, "documents")
    assert manifest["counts"]["calls"] <= estimate["calls"]["ceiling"]
    assert manifest["cost"]["charged_usd"] + manifest["cost"]["unknown_usd"] <= estimate["cost_usd"]["ceiling"]
    # A job whose first answers break off is ended: what it had not asked by then has failed, in words.
    unasked = {"failed"} if manifest["status"] == "refused" else set()
    assert status in set(documents["status"].cast(str)) <= {status, *unasked}
    answered = documents.filter(pl.col("status").cast(pl.String) == status)
    assert all(answered["summary"].str.len_chars() > 20)
    if status == "partial":
        assert all(documents["error"].str.len_chars() > 10)
        assert set(documents["error_kind"].cast(str)) == {"cut"}


def test_where_the_window_is_smaller_than_stated_chunks_are_halved_within_the_ceiling_of_the_cost(folder: Path) -> None:
    with serving(output_words=25, context_window=550) as service:
        asked = job(folder, service.url, chunking={"max_tokens": 700})
        estimate = estimate_job(asked)
        manifest = run_job(asked)
    counts = manifest["counts"]
    assert manifest["cost"]["charged_usd"] <= estimate["cost_usd"]["ceiling"]
    assert 0 < counts["failed_attempts"] < counts["chunks"] + 1  # each halving is one refusal, and free
    assert (counts["failed"], counts["skipped"]) == (0, 0)
    documents = table(manifest, "documents")
    assert all(documents["summary"].str.len_chars() > 20)
    partial = documents.filter(pl.col("status").cast(str) == "partial")
    assert all(partial["error"].str.contains("too long"))


def test_words_that_surely_do_not_fit_the_answer_are_said_before_anything_is_sent(folder: Path) -> None:
    with serving() as service:
        estimate = estimate_job(job(folder, service.url, summarize={"max_words": 300}))
        assert service.stats()["requests"] == 0
    assert any("max_words" in note for note in estimate["notes"])


# --- fall-back ----------------------------------------------------------------------------------------------------


def second(server: Server) -> dict[str, Any]:
    """Another model, ten times as dear."""
    dearer = {"input_usd_per_million": 10.0, "output_usd_per_million": 40.0}
    return endpoint(server.url, "second", max_output_tokens=200, pricing=dearer)


@pytest.mark.parametrize(
    "first",
    [
        {"keys": ["right"]},
        {"credit_calls": 0},
        {"models": ["other"]},
        {"faults": {"filter": 1.0}},
        {"context_window": 250},
        {"faults": {"429_seconds": 1.0}, "retry_after_s": 120.0},
    ],
    ids=["key", "credit", "model", "safety, with HTTP 200", "size", "rest"],
)
def test_where_the_first_route_does_not_answer_the_next_does(folder: Path, first: dict[str, Any]) -> None:
    with serving(output_words=25, **first) as one, serving(output_words=25) as two:
        other = second(two)
        manifest = run_job(job(folder, one.url, fallback=[other]))
        billed = two.stats()
    calls, chunks, documents = (table(manifest, name) for name in ("calls", "chunks", "documents"))
    assert (manifest["status"], exit_code(manifest)) == ("complete", 0)
    assert set(documents["status"].cast(str)) == {"ok"}
    answered = calls.filter(pl.col("outcome").cast(str) == "ok", pl.col("billing").cast(str) == "charged")
    assert set(answered["model"].cast(str)) == {"second"}
    assert set(answered["endpoint"].cast(str)) == {f"{two.url}/v1"}
    assert set(chunks["model"].cast(str)) == {"second"}
    assert set(chunks["endpoint"].cast(str)) == {f"{two.url}/v1"}
    paid = round(answered["cost_usd"].sum() * 10**12)
    assert paid == billed["input_tokens"] * 10**7 + billed["output_tokens"] * 4 * 10**7
    again = run_job(job(folder, one.url, fallback=[other]))
    assert (again["counts"]["calls"], again["counts"]["ok"]) == (0, 6)


def test_the_run_ends_with_4_when_no_route_is_left(folder: Path) -> None:
    with serving(keys=["right"]) as one, serving(credit_calls=0) as two:
        manifest = run_job(job(folder, one.url, fallback=[second(two)]))
        assert one.stats()["requests"] + two.stats()["requests"] < 30
    assert (manifest["status"], exit_code(manifest)) == ("refused", 4)
    assert manifest["halted"]["kind"] in {"authentication", "credit"}
    assert manifest["counts"]["skipped"] == 6


def test_a_text_that_every_route_refuses_fails_alone_and_all_of_them_end_with_7(folder: Path) -> None:
    with serving(faults={"filter": 1.0}) as server:
        manifest = run_job(job(folder, server.url, fallback=[second(server)]))
        asked = server.stats()["requests"]
        again = run_job(job(folder, server.url, fallback=[second(server)]))
        assert server.stats()["requests"] == asked, "what both refused is remembered"
    assert (manifest["status"], exit_code(manifest)) == ("complete", 7)
    assert set(table(manifest, "documents")["error_kind"].cast(str)) == {"content_filter"}
    assert exit_code(again) == 7


# --- ends ---------------------------------------------------------------------------------------------------------


def test_a_mended_key_goes_on_where_the_refused_one_ended(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(keys=["right"], output_words=25) as server:
        model = {"api_key_env": "NIGHT_KEY"}
        monkeypatch.setenv("NIGHT_KEY", "wrong")
        refused = run_job(job(folder, server.url, model=model))
        requests = server.stats()["requests"]
        monkeypatch.setenv("NIGHT_KEY", "right")
        mended = run_job(job(folder, server.url, model=model))
    assert (exit_code(refused), refused["halted"]["kind"]) == (4, "authentication")
    assert requests <= 8
    assert set(table(refused, "documents")["status"].cast(str)) == {"skipped"}
    assert (exit_code(mended), mended["counts"]["ok"]) == (0, 6)


@pytest.mark.long
def test_a_service_that_is_dead_ends_the_run_in_order_after_give_up_s(folder: Path) -> None:
    with serving(outage_s=(0.0, 600.0)) as server:
        manifest = run_job(job(folder, server.url, limits={"concurrency": 4, "give_up_s": 0.5}))
    assert (manifest["status"], exit_code(manifest)) == ("refused", 4)
    assert manifest["halted"]["kind"] == "unreachable"
    assert "nothing but failure" in manifest["halted"]["message"]
    documents = table(manifest, "documents")
    assert len(documents) == 6
    assert set(documents["status"].cast(str)) == {"skipped"}
    assert set(documents["error_kind"].cast(str)) == {"unreachable"}


@contextmanager
def refusing(status: int, body: Mapping[str, Any]) -> Iterator[tuple[str, list[bytes]]]:
    """A service that refuses everything alike: its address, and what it was sent."""
    seen: list[bytes] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            seen.append(self.rfile.read(int(self.headers["content-length"])))
            said = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(said)))
            self.end_headers()
            self.wfile.write(said)

        def log_message(self, *_: Any) -> None:
            """Silence."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}", seen
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_first_calls_all_refused_alike_as_bad_requests_end_the_run_before_the_rest_is_sent(folder: Path) -> None:
    for n in range(6, 60):
        (folder / "in" / f"{n}.txt").write_text(SENTENCES[n])
    body = {"error": {"message": "messages: at most one is allowed", "type": "invalid_request_error"}}
    with refusing(400, body) as (url, seen):
        manifest = run_job(job(folder, url))
    assert len(seen) <= 16
    assert (manifest["status"], exit_code(manifest)) == ("refused", 4)
    assert "messages: at most one is allowed" in manifest["halted"]["message"]
    assert manifest["counts"]["skipped"] >= 60 - 16


def test_a_run_that_is_refused_before_it_begins_leaves_no_run_that_never_ends(folder: Path) -> None:
    with serving() as server:
        bad = job(folder, server.url, chunking={"max_tokens": 300}, model={"context_window": 150})
        with pytest.raises(Exception, match="max_output_tokens"):
            run_job(bad)
        assert server.stats()["requests"] == 0
    assert not (folder / "out").exists()


def answers_by_text(ask: Ask) -> str:
    return f"It says {len(ask.text)}."


def test_the_embedded_rehearsal_of_other_tools_is_one_more_address(folder: Path) -> None:
    """Offline answers stay with the offline endpoint."""
    path = write_job(folder, "night", "summarize", {
        "input": {"paths": [str(folder / "in")]}, "output": {"path": str(folder / "out")},
    })  # fmt: skip
    first = run_job(load_job(path))
    with serving(answers_by_text) as server:
        second = run_job(job(folder, server.url))
    assert first["counts"]["ok"] == second["counts"]["ok"] == 6
    assert second["counts"]["reused_calls"] == 0
    assert set(table(second, "chunks")["endpoint"].cast(str)) == {f"{server.url}/v1"}
