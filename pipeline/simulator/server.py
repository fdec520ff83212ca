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

PHRASES = {status.value: status.phrase for status in HTTPStatus}


class Connection(asyncio.Protocol):
    """One client's connection; its requests are answered one after the other."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.parser = httptools.HttpRequestParser(self)
        self.waiting: deque[tuple[Http, bool]] = deque()
        self.task: asyncio.Task[None] | None = None
        self.gone = asyncio.Event()
        self._begin()

    def _begin(self) -> None:
        self.url, self.headers, self.body = b"", {}, []  # type: bytes, dict[str, str], list[bytes]

    # --- what asyncio and httptools call -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's is no subclass
        self.server.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self.server.closed(self)

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.send(Reply(400, error_body("openai", 400, f"not HTTP: {error}")), keep=False)

    def on_message_begin(self) -> None:
        self._begin()

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if self.headers.get("expect", "").lower() == "100-continue":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

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
                await self.server.answer(*self.waiting.popleft(), self)
        except BaseException:
            self.transport.abort()  # an answerer that fails must not leave its client waiting
            raise
        self.task = None

    # --- what the server writes ----------------------------------------------------------------------------------

    def head(self, status: int, headers: Mapping[str, str]) -> bytes:
        lines = [f"HTTP/1.1 {status} {PHRASES.get(status, 'Overloaded')}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")

    def send(self, reply: Reply, *, keep: bool) -> None:
        payload = reply.payload()
        headers = {"content-type": "application/json", "content-length": str(len(payload)), **reply.headers}
        if not keep:
            headers["connection"] = "close"
        self.write(self.head(reply.status, headers) + payload)
        if not keep:
            self.transport.close()

    def write(self, data: bytes) -> None:
        if not self.transport.is_closing():  # uvloop raises where asyncio drops it
            self.transport.write(data)

    def begin_stream(self, headers: Mapping[str, str]) -> None:
        """Then any number of `chunk`s; an empty one ends the response."""
        self.write(self.head(200, {"content-type": "text/event-stream", "transfer-encoding": "chunked", **headers}))

    def chunk(self, data: bytes) -> None:
        self.write(b"%x\r\n%b\r\n" % (len(data), data))


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
        stats = self.simulated.stats
        stats.connections = stats.open_connections = stats.max_open_connections = len(self.connections)
        self.slots = asyncio.Semaphore(settings.concurrency or 10**9)

    def now(self) -> float:
        return time.monotonic() - self.began

    def stats(self) -> dict[str, Any]:
        return self.simulated.stats.as_dict(self.settings, self.now())

    def opened(self, connection: Connection) -> None:
        self.connections.add(connection)
        stats = self.simulated.stats
        stats.connections += 1
        stats.open_connections = len(self.connections)
        stats.max_open_connections = max(stats.max_open_connections, stats.open_connections)

    def closed(self, connection: Connection) -> None:
        self.connections.discard(connection)
        self.simulated.stats.open_connections = len(self.connections)

    async def answer(self, http: Http, keep: bool, connection: Connection) -> None:
        """Answer one request, as the settings have it."""
        control = self._control(http)
        if control is not None:
            connection.send(control, keep=keep)
            return
        simulated = self.simulated
        reply = simulated.receive(http, self.now())
        if isinstance(reply, Reply):
            connection.send(reply, keep=keep)
            return
        stats = simulated.stats
        stats.in_flight += 1
        stats.max_in_flight = max(stats.max_in_flight, stats.in_flight)
        try:
            await self._work(simulated, reply, connection, keep)
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

    async def _work(self, simulated: Simulated, call: Call, connection: Connection, keep: bool) -> None:
        stats, fault, settings = simulated.stats, call.plan.fault, simulated.settings
        reply = simulated.fault_reply(call)
        if reply is not None:
            stats.ended(fault or "")
            if call.ask.stream and fault in ("200_openrouter", "200_anthropic"):  # once generation began
                begun = next(stream_events(call.ask, call.plan.said, call.number, 1))
                connection.begin_stream(call.headers)
                connection.chunk(begun + b"data: " + reply.payload() + b"\n\n")
                connection.chunk(b"")
            else:
                connection.send(reply, keep=keep)
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
                    await _until(connection.gone, settings.hang_s)
                    connection.transport.abort()
                elif call.ask.stream:
                    await self._stream(simulated, call, connection, keep)
                else:
                    await self._whole(simulated, call, connection, keep)
            finally:
                stats.work(-1, self.now())

    def _bill(self, simulated: Simulated, call: Call, *, arrived: bool, output_tokens: int | None = None) -> None:
        said, fault = call.plan.said, call.plan.fault
        made = said.output_tokens if output_tokens is None else output_tokens
        tokens = (said.input_tokens, made, said.cached_tokens, min(said.reasoning_tokens, made))
        outcome = fault or ("ok" if arrived else "abandoned")
        simulated.stats.bill(outcome, tokens, seen=arrived and fault not in UNSEEN_FAULTS)
        if arrived and fault in (None, "slow"):
            simulated.stats.whole(call.digest)

    async def _whole(self, simulated: Simulated, call: Call, connection: Connection, keep: bool) -> None:
        fault, settings = call.plan.fault, simulated.settings
        if call.plan.latency_s:
            await asyncio.sleep(call.plan.latency_s)
        body = orjson.dumps(answer_body(call.ask, call.plan.said, call.number, with_usage=fault != "no_usage"))
        headers = dict(call.headers) | {"x-request-id": f"req_{call.number}"}
        if fault == "slow":
            headers |= {"content-type": "application/json", "content-length": str(len(body))}
            connection.write(connection.head(200, headers))
            for part in (body[:1], body[1:-1], body[-1:]):
                await asyncio.sleep(settings.slow_s / 3)
                connection.write(part)
        # A client that hung up has been generated for all the same.
        self._bill(simulated, call, arrived=not connection.gone.is_set())
        if fault == "hang_billed":
            await _until(connection.gone, settings.hang_s)
        if fault in ("hang_billed", "reset_billed"):
            connection.transport.abort()
        elif fault == "truncated":
            connection.send(Reply(200, body[: len(body) * 2 // 3], headers), keep=keep)
        elif fault == "huge":
            connection.send(Reply(200, body[:-1] + b" " * settings.huge_bytes + b"}", headers), keep=keep)
        elif fault != "slow":
            connection.send(Reply(200, body, headers), keep=keep)

    async def _stream(self, simulated: Simulated, call: Call, connection: Connection, keep: bool) -> None:
        """Server-sent events: half the latency before the first, the rest between them. A client that hangs up early
        is billed for what was generated until then."""
        plan, fault, settings = call.plan, call.plan.fault, simulated.settings
        events = list(
            stream_events(call.ask, plan.said, call.number, settings.stream_pieces, with_usage=fault != "no_usage")
        )
        await asyncio.sleep(plan.latency_s / 2)
        connection.begin_stream(call.headers)
        pause_s = (settings.slow_s if fault == "slow" else plan.latency_s / 2) / len(events)
        broken = fault in ("truncated", "reset_billed", "hang_billed")
        sent = 0
        for event in events[: len(events) // 2] if broken else events:
            await asyncio.sleep(pause_s)
            if connection.gone.is_set():
                break
            connection.chunk(event)
            sent += 1
        left_early = connection.gone.is_set() and not broken
        made = plan.said.output_tokens * sent // len(events) if left_early else None
        self._bill(simulated, call, arrived=not left_early, output_tokens=made)
        if fault == "hang_billed":
            await _until(connection.gone, settings.hang_s)
        if broken:
            connection.transport.close() if fault == "truncated" else connection.transport.abort()
        elif not left_early:
            if fault == "huge":
                connection.chunk(b": " + b" " * settings.huge_bytes + b"\n\n")
            connection.chunk(b"")
            if not keep:
                connection.transport.close()


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
