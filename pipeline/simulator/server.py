"""The simulator's sockets: HTTP/1.1 on loopback by httptools on an asyncio.Protocol, the cheapest maintained layer."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, cast

import httptools
import orjson

from pipeline.errors import JobError, MachineError
from pipeline.simulator.answers import Answerer, extractive, gold_from_files
from pipeline.simulator.dialects import answer_body, error_body, stream_events
from pipeline.simulator.service import Call, Http, Reply, Simulated
from pipeline.simulator.settings import UNSEEN_FAULTS, Settings, parse_settings

__all__ = ["Server", "serve"]

STREAM = {"content-type": "text/event-stream", "transfer-encoding": "chunked"}
BROKEN_FAULTS = frozenset(["truncated", "reset_billed", "hang_billed"])
"""These end a stream in its middle."""
PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[tuple[Http, bool]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self.keep = True  # whether the connection goes on after the response under way

    # --- what asyncio and httptools call -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.server.connections.add(self)
        self.server.simulated.stats.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self.server.connections.discard(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.keep = False
            self.send(Reply(400, error_body("openai", 400, f"not HTTP: {error}")))

    def on_message_begin(self) -> None:
        self.url, self.headers, self.body = b"", {}, []  # type: bytes, dict[str, str], list[bytes]

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self.body.append(body)

    def on_message_complete(self) -> None:
        path = httptools.parse_url(self.url).path.decode("latin-1")
        http = Http(self.parser.get_method().decode(), path, self.headers, b"".join(self.body))
        self.waiting.append((http, self.parser.should_keep_alive()))
        if self.task is None:
            self.task = self.server.loop.create_task(self._answer())

    async def _answer(self) -> None:
        try:
            while self.waiting and not self.gone.is_set():
                http, self.keep = self.waiting.popleft()
                await self.server.answer(http, self)
        except BaseException:
            self.transport.abort()  # an answerer that fails must not leave its client waiting
            raise
        self.task = None

    # --- what the server writes ----------------------------------------------------------------------------------

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Overloaded')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        lines += [] if self.keep else ["connection: close"]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, reply: Reply) -> None:
        payload = reply.payload()
        self.write(self.head(reply.status, _described(payload) | reply.headers) + payload)
        if not self.keep:
            self.transport.close()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises where asyncio drops it
            self.transport.write(data)


def _described(body: bytes) -> dict[str, str]:
    return {"content-type": "application/json", "content-length": str(len(body))}


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Server:
    """A running simulator: `url` is its root, `stats()` what `GET /stats` says, `reset()` begins anew."""

    def __init__(self, settings: Settings, answerer: Answerer | None) -> None:
        self.loop = asyncio.get_running_loop()
        self.answerer = answerer
        self.settings = settings
        self.url = ""
        self.connections: set[Connection] = set()
        self.reset()

    def reset(self, settings: Settings | None = None) -> None:
        """Empty books, full buckets, no memory of earlier calls; with other `settings` if given.

        Calls still under way are booked where they began."""
        self.began = time.monotonic()
        self.settings = settings = settings or self.settings
        count = _counter(settings)
        self.simulated = Simulated(settings, self.answerer or _answerer(settings, count), count)
        self.simulated.stats.connections = len(self.connections)
        self.slots = asyncio.Semaphore(settings.concurrency or 10**9)

    def now(self) -> float:
        return time.monotonic() - self.began

    def stats(self) -> dict[str, Any]:
        return self.simulated.stats.as_dict(self.settings, self.now())

    async def answer(self, http: Http, connection: Connection) -> None:
        """Answer one request, as the settings have it."""
        control = self._control(http)
        if control is not None:
            connection.send(control)
            return
        simulated = self.simulated
        reply = simulated.receive(http, self.now())
        if isinstance(reply, Reply):
            connection.send(reply)
            return
        stats = simulated.stats
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        try:
            await self._work(simulated, reply, connection)
        finally:
            stats.in_flight -= 1
            stats.last_response_s = self.now()

    def _control(self, http: Http) -> Reply | None:
        if http.path == "/stats" and http.method == "GET":
            return Reply(200, self.stats())
        if http.path == "/stats/reset" and http.method == "POST":
            self.reset()
            return Reply(200, {})
        if http.path == "/config" and http.method == "POST":
            try:
                self.reset(parse_settings(orjson.loads(http.body), "/config"))
            except (orjson.JSONDecodeError, JobError) as error:
                return Reply(400, error_body("openai", 400, str(error)))
            return Reply(200, {})
        return None

    async def _work(self, simulated: Simulated, call: Call, connection: Connection) -> None:
        stats, fault = simulated.stats, call.plan.fault
        reply = simulated.fault_reply(call)
        if reply is not None:
            stats.ended(fault or "")
            if call.ask.stream and fault in ("200_openrouter", "200_anthropic"):  # once generation began
                begun = next(stream_events(call.ask, call.plan.said, call.number))
                error = _chunk(begun + b"data: " + reply.payload() + b"\n\n")
                connection.write(connection.head(200, STREAM | call.headers) + error + _chunk(b""))
            else:
                connection.send(reply)
            return
        if fault == "reset":
            stats.ended(fault)
            connection.transport.abort()
            return
        async with self.slots:
            stats.work(+1, self.now())
            try:
                if fault == "hang":
                    stats.ended(fault)
                    await _until(connection.gone, simulated.settings.hang_s)
                    connection.transport.abort()
                else:
                    await self._generate(simulated, call, connection)
            finally:
                stats.work(-1, self.now())

    async def _generate(self, simulated: Simulated, call: Call, connection: Connection) -> None:
        """Make, write and bill the answer. An event stream begins after half the latency, and a client that leaves it
        early is billed for what was made until then; who leaves a whole answer, for all of it."""
        settings, stats, fault, said = simulated.settings, simulated.stats, call.plan.fault, call.plan.said
        stream = call.ask.stream
        head, parts = _response(call, settings.huge_bytes)
        latency_s = call.plan.latency_s / 2 if stream else call.plan.latency_s
        pause_s = (settings.slow_s if fault == "slow" else latency_s if stream else 0.0) / max(len(parts), 1)
        await asyncio.sleep(latency_s)
        sent = 0
        for part in parts:
            if pause_s:
                await asyncio.sleep(pause_s)
            if stream and connection.gone.is_set():
                break
            connection.write(part if sent else connection.head(200, head) + part)
            sent += 1
        broken = fault in BROKEN_FAULTS
        arrived = not connection.gone.is_set() or (stream and broken)
        made = said.output_tokens * sent // len(parts) if stream and not arrived else said.output_tokens
        tokens = (said.input_tokens, made, said.cached_tokens, min(said.reasoning_tokens, made))
        stats.bill(fault or ("ok" if arrived else "abandoned"), tokens, seen=arrived and fault not in UNSEEN_FAULTS)
        if arrived and fault in (None, "slow"):
            stats.whole(call.digest)
        if fault == "hang_billed":
            await _until(connection.gone, settings.hang_s)
        if fault in ("hang_billed", "reset_billed"):
            connection.transport.abort()
        elif stream and arrived and not broken:
            connection.write(_chunk(b""))
        if not connection.keep or (stream and broken):
            connection.transport.close()


def _response(call: Call, huge_bytes: int) -> tuple[dict[str, str], list[bytes]]:
    """Its headers, and its body as it is written, piece by piece: less of it where the call's fault says so."""
    fault, with_usage = call.plan.fault, call.plan.fault != "no_usage"
    if call.ask.stream:
        events = list(stream_events(call.ask, call.plan.said, call.number, with_usage=with_usage))
        if fault in BROKEN_FAULTS:
            events = events[: len(events) // 2]
        elif fault == "huge":
            events.append(b": " + b" " * huge_bytes + b"\n\n")
        return STREAM | call.headers, [_chunk(event) for event in events]
    body = orjson.dumps(answer_body(call.ask, call.plan.said, call.number, with_usage=with_usage))
    if fault == "truncated":
        body = body[: len(body) * 2 // 3]
    elif fault == "huge":
        body = body[:-1] + b" " * huge_bytes + b"}"
    parts = [body]
    if fault == "slow":
        parts = [body[:1], body[1:]]
    elif fault in ("hang_billed", "reset_billed"):
        parts = []
    return _described(body) | call.headers | {"x-request-id": f"req_{call.number}"}, parts


async def _until(event: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return


def _counter(settings: Settings) -> Callable[[str], int]:
    if settings.tokenizer == "bytes":
        return lambda text: -(-len(text.encode("utf-8", "surrogatepass")) // 4)
    from pipeline.tokens import tokenizer

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
    try:
        listener = await server.loop.create_server(lambda: Connection(server), "127.0.0.1", settings.port)
    except OSError as error:
        raise MachineError(f"port {settings.port}: {error.strerror or error}") from error
    server.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    try:
        yield server
    finally:
        listener.close()
        tasks = [connection.task for connection in server.connections if connection.task]
        for connection in list(server.connections):
            connection.transport.abort()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
