"""How long a run takes to end from every state in which it can wait: rows of the fault matrix.

    python tests/benchmarks/faults.py --only "end from"

A row begins the real command, brings it into the state, signals it (or lets the service refuse it), and measures the
seconds to its end. Whatever the state: out within the grace and what ending takes, the run committed, exit 130 (4 for
what the service itself ended), and every document a row.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rig import KEY, Findings, read, secrets_in

if TYPE_CHECKING:
    from faults import Lab

SLACK_S = 20.0
"""What ending may take beyond the grace on a very busy machine; on a quiet one it takes less than 2 s. What a run would
wait for otherwise takes a minute and more."""
MOST_TRIES = 120
"""Calls that a dead service may be asked before it is given up, whatever the machine's pace."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """A way to wait. `service` and `tables` bring the run there; `calls`: those that reach the service before the end,
    at most; `grace_s` of it counts where `in_flight`."""

    grace_s: float = 30.0
    in_flight: bool = False
    calls: int = 1
    after_s: float = 0.7
    service: Mapping[str, Any] = field(default_factory=dict)
    tables: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: Callable[[Path], None] | None = None  # adds to the input
    hang: bool = False  # the readers' processes are stopped
    wrap: tuple[str, ...] = ()  # a program that signals by itself
    code: int = 130

    @property
    def longest_s(self) -> float:
        return SLACK_S + (self.grace_s if self.in_flight else 0.0)


def slow_pdf(inputs: Path) -> None:
    """A page of so many shapes that its reader is at work for long."""
    from faults import pdf

    body = "a" * 100 + ") Tj ET " + "q 1 0 0 1 0 0 cm BT /F1 12 Tf (b) Tj ET Q " * 2_500_000 + "BT ("
    (inputs / "a-slow.pdf").write_bytes(pdf(body))


def long_text(inputs: Path) -> None:
    """A text that is cut for many seconds, in a thread that hears nothing."""
    with (inputs / "a-long.txt").open("w", encoding="utf-8") as file:
        for number in range(1_000_000):
            file.write(f"The bridge {number} is dated 3 May 1903; its total amount is EUR {number * 37}. ")


def stop_readers(pid: int) -> None:
    """Every reader of the process hangs from now on."""
    from faults import children_of

    for child in children_of(pid):
        os.kill(int(child), signal.SIGSTOP)


STATES: dict[str, State] = {
    "one request a minute, grace 2": State(grace_s=2.0, calls=2, tables={"limits": {"requests_per_minute": 1}}),
    "one request a minute, grace 30": State(calls=2, tables={"limits": {"requests_per_minute": 1}}),
    "a stated wait of 600 s": State(
        calls=40, service={"faults": {"429_seconds": 1.0}, "retry_after_s": 600.0}, after_s=2.0
    ),
    "an outage": State(calls=40, service={"outage_s": [0.0, 1e6]}, after_s=3.0),
    "the budget's queue": State(
        grace_s=1.0,
        in_flight=True,
        service={"latency_s": 60.0, "latency_sigma": 0.0},
        tables={"budget": {"max_cost_usd": 0.00012}, "limits": {"timeout_s": 300.0}},
    ),
    "calls in flight, grace 1": State(
        grace_s=1.0,
        in_flight=True,
        calls=8,
        service={"latency_s": 60.0, "latency_sigma": 0.0},
        tables={"limits": {"timeout_s": 300.0}},
    ),
    "a reader at work": State(grace_s=1.0, in_flight=True, calls=100, extra=slow_pdf, after_s=2.0),
    "a reader that hangs": State(grace_s=1.0, in_flight=True, calls=100, extra=slow_pdf, after_s=2.0, hang=True),
    "a long text being cut": State(grace_s=1.0, in_flight=True, calls=100, extra=long_text, after_s=3.0),
    "signals of timeout": State(
        grace_s=2.0, calls=2, tables={"limits": {"requests_per_minute": 1}}, wrap=("timeout", "4"), code=124
    ),
    "a wrong key at three a minute": State(
        service={"keys": ["another"]}, tables={"limits": {"requests_per_minute": 3}}, code=4, after_s=-1.0
    ),
}
"""By name: what the run waits for when it is told to end."""


def ended(lab: Lab, name: str) -> Findings:
    """The run in the state is told to end; what it leaves must be whole, and it must be out in time."""
    state = STATES[name]
    lab.configure("summarize", **state.service)
    inputs = lab.inputs
    if state.extra is not None:
        inputs = lab.folder / f"inputs-{name.replace(' ', '-')}"
        if not inputs.exists():
            from rig import write_inputs

            write_inputs(inputs, files=3, rows=0)
            state.extra(inputs)
    tables = {**state.tables, "limits": {"grace_s": state.grace_s, **state.tables.get("limits", {})}}
    case = lab.case("summarize", inputs, **tables)
    process = case.command(*state.wrap)
    began = time.monotonic()
    if state.wrap or state.after_s < 0:  # it ends by itself
        code = process.wait(120)
        began += 4.0 if state.wrap else 0.0
    else:
        while process.poll() is None and not _begun(lab, case, state):
            time.sleep(0.02)
        time.sleep(state.after_s)
        if state.hang:
            stop_readers(process.pid)
        process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        code = process.wait(120)
    took_s = time.monotonic() - began
    case.codes.append(code)
    return _judged(lab, case, state, name, took_s)


def _begun(lab: Lab, case: Any, state: State) -> bool:
    """Whether the run is at work: at its input where that is what it waits for, else in its first call."""
    if state.extra is not None:
        return any(case.output.glob("night/.*.partial"))
    return bool(lab.service.ask("/stats")["requests"])


def _judged(lab: Lab, case: Any, state: State, name: str, took_s: float) -> Findings:
    found = Findings(cases=1)
    asked = lab.service.ask("/stats")["requests"]
    found.notes.append(f"{name}: out after {took_s:.1f} s, {asked} calls")
    wrong = [f"out after {took_s:.1f} s"] if took_s > state.longest_s else []
    if case.codes[-1] != state.code:
        wrong.append(f"exit {case.codes[-1]}")
    if asked > state.calls:
        wrong.append(f"{asked} calls reached the service")
    wrong += committed(case, "refused" if state.code == 4 else "interrupted")
    found.secrets = len(secrets_in(case.output, case.log))
    found.unfinished += len(wrong)
    found.notes += wrong
    if wrong:
        found.notes.append(case.text()[-600:])
    return found


def committed(case: Any, status: str) -> list[str]:
    """What is wrong with the one run that a case left."""
    if len(case.runs()) != 1:
        return [f"{len(case.runs())} runs"]
    run = case.runs()[0]
    manifest = json.loads((run / "run.json").read_bytes())
    rows = read(run / "documents.parquet").to_pylist()
    wrong = [] if manifest["status"] == status else [f"status {manifest['status']}"]
    if manifest["counts"]["documents"] != len(rows) or any(not row["status"] for row in rows):
        wrong.append(f"{len(rows)} rows of {manifest['counts']['documents']}")
    if any(row["status"] != "ok" and not row["error"] for row in rows):
        wrong.append("a row without its reason")
    return wrong


# --- services that are dead ---------------------------------------------------------------------------------------


class _Answers(BaseHTTPRequestHandler):
    """Answers every call alike: `server.status`, `server.body`, `server.headers`."""

    def do_POST(self) -> None:
        server: Any = self.server
        self.rfile.read(int(self.headers.get("content-length") or 0))
        server.asked += 1
        loading = server.loads and server.asked <= server.loads
        status = 503 if loading else server.status
        body = json.dumps({"error": {"message": "Loading model"}} if loading else server.body).encode()
        self.send_response(status)
        for name, value in server.extra.items():
            self.send_header(name, value)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


def dead_server(status: int, body: Any, headers: Mapping[str, str] = {}, loads: int = 0) -> Any:
    """A server of one answer, in a thread; `loads`: so many times first that its model is loading."""
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), _Answers)
    server.status, server.body, server.extra, server.loads, server.asked = status, body, headers, loads, 0
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def closed_port() -> str:
    """An address where nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}"


FAILURES: dict[str, tuple[int, Any, Mapping[str, str]]] = {
    "constant 500": (500, {"error": {"message": "out of order"}}, {}),
    "constant 503": (503, {"error": {"message": "no capacity"}}, {}),
    "a wait of two thirds": (503, {"error": {"message": "no capacity"}}, {"retry-after": "2"}),
    "a wait of 600 s": (429, {"error": {"message": "later"}}, {"retry-after": "600"}),
    "a wait of 31 years": (429, {"error": {"message": "later"}}, {"retry-after": "1e9"}),
    "a wait of 31 years, whole": (429, {"error": {"message": "later"}}, {"retry-after": "1000000000"}),
}


def dead(lab: Lab, how: str, give_up_s: float = 3.0) -> Findings:
    """A service that never answers: the run ends in order with the reason, exit 4, and every document is a row."""
    server, url = None, ""
    if how == "closed port":
        url = closed_port()
    elif how == "unknown name":
        url = "https://no-such-service.invalid"
    else:
        server = dead_server(*FAILURES[how])
        url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        case = lab.case("summarize", model={"base_url": f"{url}/v1"}, limits={"give_up_s": give_up_s, "grace_s": 2.0})
        began = time.monotonic()
        process = case.command()
        code = process.wait(120)
        took_s = time.monotonic() - began
    finally:
        if server is not None:
            server.shutdown()
            server.server_close()
    case.codes.append(code)
    found = Findings(cases=1, notes=[f"{how}: gave up after {took_s:.1f} s at give_up_s = {give_up_s:g}"])
    wrong = [] if code == 4 else [f"exit {code}"]
    wrong += committed(case, "refused")
    if server is not None and server.asked > MOST_TRIES:
        wrong.append(f"{server.asked} calls before it was given up")
    if took_s > give_up_s + SLACK_S:
        wrong.append(f"gave up after {took_s:.1f} s")
    said = case.text()
    if not any(word in said for word in ("connect", "resolve", "500", "503", "out of order", "capacity", "later")):
        wrong.append("the reason is not said")
    if KEY in said:
        wrong.append("the key is said")
    found.unfinished += len(wrong)
    found.notes += [*wrong, *([said[-700:]] if wrong else [])]
    return found


def loading(lab: Lab) -> Findings:
    """A model that says it is loading, for longer than `give_up_s`, is waited for, and then answers."""
    answer = {
        "choices": [{"message": {"role": "assistant", "content": "The bridge was closed."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 200, "completion_tokens": 6},
    }
    server = dead_server(200, answer, loads=4)
    url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        case = lab.case("summarize", model={"base_url": f"{url}/v1"}, limits={"give_up_s": 0.5})
        code = case.command().wait(120)
    finally:
        server.shutdown()
        server.server_close()
    case.codes.append(code)
    wrong = [] if code == 0 else [f"exit {code}"]
    wrong += committed(case, "complete")
    return Findings(cases=1, unfinished=len(wrong), notes=[*wrong, *([case.text()[-600:]] if wrong else [])])
