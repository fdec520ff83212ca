"""The simulator's sockets: HTTP/1.1 on loopback by aiohttp."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
from aiohttp import web
from docreduce.simulator.answers import Answerer, extractive, gold_from_files
from docreduce.simulator.dialects import answer_body, error_body, stream_events
from docreduce.simulator.service import Call, Simulated, response
from docreduce.simulator.settings import Settings, parse_settings
from docreduce.values.errors import JobError, MachineError

__all__ = ["Server", "serve"]


class Server:
    """A running simulator: `url` is its root, `stats()` what `GET /stats` says, `reset()` begins anew."""

    def __init__(self, settings: Settings, answerer: Answerer | None) -> None:
        self.answerer = answerer
        self.settings = settings
        self.url = ""
        self.reset()

    def reset(self, settings: Settings | None = None) -> None:
        """Empty books, full buckets, no memory of earlier calls; with other `settings` if given.

        Calls still under way are booked where they began."""
        self.began = time.monotonic()
        self.settings = settings = settings or self.settings
        count = _counter(settings)
        self.simulated = Simulated(settings, self.answerer or _answerer(settings, count), count)
        self.slots = asyncio.Semaphore(settings.concurrency or 10**9)

    def now(self) -> float:
        return time.monotonic() - self.began

    def stats(self) -> dict[str, Any]:
        return self.simulated.stats.as_dict(self.settings)

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer one request, as the settings have it."""
        body = await request.read()
        control = self._control(request, body)
        if control is not None:
            return control
        simulated = self.simulated
        found = simulated.batches.answer(request.method, request.path, request.query_string, body, self.now())
        if found is None:
            return _aborted(request)
        if found:
            return web.Response(status=int(found[0]), body=found[1], content_type="application/json")
        call = simulated.receive(request, body, self.now())
        if isinstance(call, web.Response):
            return call
        stats = simulated.stats
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        try:
            return await self._work(simulated, call, request)
        finally:
            stats.in_flight -= 1
            stats.last_response_s = self.now()

    def _control(self, request: web.Request, body: bytes) -> web.Response | None:
        match request.method, request.path:
            case "GET", "/stats":
                self.simulated.batches.advance(self.now())
                return response(200, self.stats())
            case "POST", "/stats/reset":
                self.reset()
                return response(200, {})
            case "POST", "/config":
                try:
                    self.reset(parse_settings(orjson.loads(body), "/config"))
                except (orjson.JSONDecodeError, JobError) as error:
                    return response(400, error_body("openai", 400, str(error)))
                return response(200, {})
        return None

    async def _work(self, simulated: Simulated, call: Call, request: web.Request) -> web.StreamResponse:
        stats, fault = simulated.stats, call.fault
        refused = simulated.fault_reply(call)
        if refused is not None:
            stats.ended(fault or "")
            if call.ask.stream and fault in ("200_openrouter", "200_anthropic"):  # once generation began
                begun = next(stream_events(call.ask, call.said, call.number))
                error = b"data: " + refused.body + b"\n\n"  # type: ignore[operator]  # always bytes
                return web.Response(body=begun + error, headers={"content-type": "text/event-stream"} | call.headers)
            return refused
        if fault == "reset":
            stats.ended(fault)
            return _aborted(request)
        async with self.slots:
            if fault == "hang":
                stats.ended(fault)
                await _hang(request, simulated.settings.hang_s)
                return _aborted(request)
            return await self._generate(simulated, call, request)

    async def _generate(self, simulated: Simulated, call: Call, request: web.Request) -> web.StreamResponse:
        """Make, bill and write the answer. An event stream begins after half the latency, and a client that leaves it
        early is billed for what was made until then; who leaves a whole answer, for all of it."""
        settings, fault, stream = simulated.settings, call.fault, call.ask.stream
        head, parts = _answer(call, settings.huge_bytes)
        latency_s = call.latency_s / 2 if stream else call.latency_s
        pause_s = (settings.slow_s if fault == "slow" else latency_s if stream else 0.0) / len(parts)
        await asyncio.sleep(latency_s)
        answer = web.StreamResponse(headers=head)
        for number, part in enumerate(parts, 1):
            await asyncio.sleep(pause_s)
            if _gone(request):
                simulated.bill(call, (number - 1) / len(parts) if stream else 1.0, arrived=False)
                return answer
            if number == len(parts):  # before it is written: who has the answer may look at the books
                simulated.bill(call, 1.0, arrived=True)
            with suppress(ConnectionError):
                await answer.prepare(request)
                await answer.write(part)
        if fault == "hang_billed":
            await _hang(request, settings.hang_s)
        if fault in ("hang_billed", "reset_billed") or (stream and fault == "truncated"):
            return _aborted(request)
        return answer


def _answer(call: Call, huge_bytes: int) -> tuple[dict[str, str], list[bytes]]:
    """Its headers, and its body as it is written, piece by piece: less of it where the call's fault says so."""
    fault, with_usage = call.fault, call.fault != "no_usage"
    broken = fault in ("truncated", "reset_billed", "hang_billed")
    if call.ask.stream:
        events = list(stream_events(call.ask, call.said, call.number, with_usage=with_usage))
        if fault == "huge":
            events.append(b": " + b" " * huge_bytes + b"\n\n")
        return {"content-type": "text/event-stream"} | call.headers, events[: len(events) // 2] if broken else events
    body = orjson.dumps(answer_body(call.ask, call.said, call.number, with_usage=with_usage))
    if fault == "huge":
        body = body[:-1] + b" " * huge_bytes + b"}"
    head = {"content-type": "application/json", "x-request-id": f"req_{call.number}"} | call.headers
    if fault != "truncated":  # it ends as if it were whole
        head["content-length"] = str(len(body))
    if broken:
        return head, [body[: len(body) // 2]]
    return head, [body[:1], body[1:]] if fault == "slow" else [body]


def _gone(request: web.Request) -> bool:
    return request.transport is None or request.transport.is_closing()


def _aborted(request: web.Request) -> web.Response:
    """No response: the connection is reset."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _hang(request: web.Request, seconds: float) -> None:
    """Wait until the client leaves, for `seconds` at most."""
    for _ in range(math.ceil(seconds / 0.02)):
        if _gone(request):
            return
        await asyncio.sleep(0.02)


def _counter(settings: Settings) -> Callable[[str], int]:
    if settings.tokenizer == "bytes":
        return lambda text: -(-len(text.encode("utf-8", "surrogatepass")) // 4)
    from docreduce.text.tokens import tokenizer

    return tokenizer(settings.tokenizer).count


def _answerer(settings: Settings, count: Callable[[str], int]) -> Answerer | None:
    if settings.answer == "extractive":
        return extractive(count, settings.output_words)
    return gold_from_files(Path(settings.gold)) if settings.gold else None


@asynccontextmanager
async def serve(settings: Settings, answerer: Answerer | None = None) -> AsyncIterator[Server]:
    """A simulator on a free port of 127.0.0.1 (or `settings.port`) until the block ends.

    `answerer` makes the answers; without one the settings say which. Raises MachineError if the port is taken."""
    server = Server(settings, answerer)
    app = web.Application(client_max_size=0)
    app.router.add_route("*", "/{path:.*}", server.answer)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.01)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, "127.0.0.1", settings.port).start()
        except OSError as error:
            raise MachineError(f"port {settings.port}: {error.strerror or error}") from error
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield server
    finally:
        await runner.cleanup()
