"""The simulated service without its sockets: who may call, what an answer holds and costs, which fault it shows.

Every draw depends on the seed, the request's bytes and how often they were accepted before, so a run's faults are the
same at any concurrency."""

from __future__ import annotations

import math
import random
import time
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
from aiohttp import web
from docreduce.simulator.account import Bucket, Stats
from docreduce.simulator.answers import Answerer, echo
from docreduce.simulator.batches import SPOILT, STATUSES, BatchRoom
from docreduce.simulator.dialects import Ask, Said, Shape, error_body, parse_ask, rate_headers, wait_hint
from docreduce.simulator.settings import FREE_FAULTS, UNSEEN_FAULTS, Hint, Service, Settings
from docreduce.values import CACHED_FROM_TOKENS

__all__ = ["Call", "Simulated", "response"]

DEFAULT_MODEL = "baidu-ernie-4.5-21b-a3b"
SHAPES: Mapping[Service, Shape] = {"openai": "openai", "anthropic": "anthropic", "modelslab": "message"}
SERVER_ERRORS = {
    408: "Request timeout",
    500: "Internal server error",
    502: "Provider returned error",
    503: "Service temporarily unavailable",
    504: "Gateway timeout",
    529: "Overloaded",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A call and what becomes of it: the fault it shows, the seconds it takes, the answer with its bill.

    `number`: among the accepted ones, from 1; `digest`: of its body; `headers`: those of every response to it."""

    ask: Ask
    number: int
    digest: int
    fault: str | None
    latency_s: float
    said: Said
    headers: dict[str, str] = field(default_factory=dict)


def response(status: int, body: Any, headers: Mapping[str, str] | None = None) -> web.Response:
    """A response that needs no work: `body` as JSON."""
    return web.Response(body=orjson.dumps(body), status=status, headers=headers, content_type="application/json")


class Simulated:
    """One account at the service. `now` arguments are seconds since it began."""

    def __init__(self, settings: Settings, answerer: Answerer | None, count: Callable[[str], int]) -> None:
        self.settings = settings
        self.answerer = answerer
        self.count = count
        self.stats = Stats()
        self.attempts: dict[int, int] = {}
        self.buckets: dict[str, Bucket] = {}
        self.flexed = 0  # calls of the flex tier
        self.kept: dict[str, int] = {}  # prefixes in the cache, with their tokens
        self.batches = BatchRoom(self, time.time)
        limits = {"requests": settings.requests_per_minute, "tokens": settings.tokens_per_minute}
        for name, limit in limits.items():
            if limit is not None:
                self.buckets[name] = Bucket(limit, settings.burst_s, settings.start, 0.0, least=name == "requests")

    # --- admission -----------------------------------------------------------------------------------------------

    def receive(self, request: web.Request, content: bytes, now: float) -> web.Response | Call:
        """A call accepted for work, or the response to whatever else was asked."""
        if request.method == "GET" and request.path.endswith("/models"):
            return self._models()
        endpoint = request.path.rsplit("/", 1)[-1]
        if request.method != "POST" or endpoint not in ("completions", "messages", "count_tokens"):
            message = f"Unknown request URL: {request.method} {request.path}"
            return response(404, error_body("openai", 404, message, "unknown_url"))
        service: Service = "openai" if endpoint == "completions" else "anthropic"
        if service == "openai" and "/api/v7/" in request.path:
            service = "modelslab"
        try:
            body = orjson.loads(content)
            ask = parse_ask(service, body)
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
            message = f"Invalid request: {type(error).__name__} {error}"
            return response(400, error_body(SHAPES[service], 400, message))
        if endpoint == "count_tokens":
            return response(200, {"input_tokens": self._input_tokens(ask)})
        self.stats.requests += 1
        if self.stats.first_request_s is None:
            self.stats.first_request_s = now
        headers = request.headers
        key = headers.get("authorization", "").removeprefix("Bearer ") or headers.get("x-api-key") or body.get("key")
        digest = zlib.crc32(content) << 32 | len(content)
        return self._account_refuses(ask, key, now) or self._admit(ask, digest, now)

    def error(
        self, ask: Ask, status: int, message: str, code: str, headers: Mapping[str, str] | None = None, **fields: int
    ) -> web.Response:
        """An error in the shape that this service uses, with `fields` beside it."""
        return response(status, error_body(SHAPES[ask.service], status, message, code) | fields, headers)

    def _reject(self, ask: Ask, status: int, message: str, code: str) -> web.Response:
        self.stats.rejected[code] += 1
        return self.error(ask, status, message, code)

    def _account_refuses(self, ask: Ask, key: str | None, now: float) -> web.Response | None:
        settings, stats = self.settings, self.stats
        outage = settings.outage_s
        if outage and outage[0] <= now < outage[1]:
            return self._reject(ask, 503, SERVER_ERRORS[503], "outage")
        expired = settings.key_expires_after is not None and stats.accepted >= settings.key_expires_after
        if expired or (settings.keys and key not in settings.keys):
            return self._reject(ask, 401, "Invalid API key", "invalid_api_key")
        if settings.credit_calls is not None and stats.accepted >= settings.credit_calls:
            message = "Insufficient credits. Add more credits to continue."
            return self._reject(ask, 402, message, "insufficient_credits")
        if settings.models and ask.model not in settings.models:
            return self._reject(ask, 404, f"The model `{ask.model}` does not exist", "model_not_found")
        if ask.structured in settings.refuse:
            name = "tools" if ask.structured == "tools" else "response_format"
            return self._reject(ask, 400, f"{name} is not supported by this model", "unsupported_parameter")
        return None

    def _overflow(self, ask: Ask, input_tokens: int, window: int) -> web.Response:
        asked = input_tokens + ask.max_output_tokens
        message = (
            f"This model's maximum context length is {window} tokens. However, you requested {asked} tokens "
            f"({input_tokens} in the messages, {ask.max_output_tokens} in the completion)."
        )
        if ask.service == "anthropic":
            message = f"prompt is too long: {asked} tokens > {window} maximum"
        if ask.service == "modelslab":
            return response(400, error_body("openrouter", 400, message))
        return self.error(ask, 400, message, "context_length_exceeded")

    def _admit(self, ask: Ask, digest: int, now: float) -> web.Response | Call:
        settings, stats = self.settings, self.stats
        input_tokens = self._input_tokens(ask)
        window = settings.context_window
        if window is not None and input_tokens + ask.max_output_tokens > window:
            stats.rejected["context_length_exceeded"] += 1
            return self._overflow(ask, input_tokens, window)
        if settings.queue_limit is not None and stats.in_flight >= settings.queue_limit:
            message = f"Rate limit exceeded. Maximum {settings.queue_limit} queued requests allowed."
            return self._limited(ask, message, settings.retry_after_s)
        if ask.tier == "flex":
            self.flexed += 1
            if random.Random(f"{settings.seed}:flex:{self.flexed}").random() < settings.flex_refused:  # noqa: S311
                return self._reject(ask, 429, "Resource Unavailable", "resource_unavailable")
        call = self._cached(self._draw(ask, digest, input_tokens))
        needs = {"requests": 1, "tokens": call.said.input_tokens + call.said.output_tokens}
        waits = {name: bucket.wait_s(needs[name], now) for name, bucket in self.buckets.items()}
        name, wait_s = max(waits.items(), key=lambda item: item[1], default=("", 0.0))
        if wait_s > 1e-6:  # less is the rounding of clocks
            if math.isinf(wait_s):
                message = f"Request too large: {needs[name]} {name} never fit the limit."
                return self._reject(ask, 413, message, "request_too_large")
            message = f"Rate limit reached on {name} per min. Please try again in {wait_s:.3f}s."
            return self._limited(ask, message, wait_s)
        for name, bucket in self.buckets.items():
            bucket.level -= needs[name]
        stats.accepted += 1
        self.attempts[digest] = self.attempts.get(digest, 0) + 1
        return replace(call, headers=self._rate_headers(ask))

    def _rate_headers(self, ask: Ask) -> dict[str, str]:
        return rate_headers(ask.service, self.buckets) if ask.service in self.settings.rate_headers else {}

    def _limited(self, ask: Ask, message: str, wait_s: float) -> web.Response:
        self.stats.refused += 1
        hint: Hint = self.settings.hint or ("body" if ask.service == "modelslab" else "seconds")
        headers, fields = wait_hint(hint, wait_s)
        return self.error(ask, 429, message, "rate_limit_exceeded", headers | self._rate_headers(ask), **fields)

    def _models(self) -> web.Response:
        common = {"object": "model", "type": "model", "created": 1751328000, "owned_by": "simulator"}
        models = [{"id": name, **common} for name in self.settings.models or (DEFAULT_MODEL,)]
        return response(200, {"object": "list", "data": models, "has_more": False})

    # --- what is said, and what it costs -------------------------------------------------------------------------

    def _tokens(self, text: str) -> int:
        return round(self.count(text) * self.settings.ratio)

    def _input_tokens(self, ask: Ask) -> int:
        texts = [message.content for message in ask.messages]
        if ask.structured and ask.schema is not None:
            texts.append(orjson.dumps(ask.schema).decode())
        return round((sum(map(self.count, texts)) + self.settings.frame_tokens) * self.settings.ratio)

    def _draw(self, ask: Ask, digest: int, input_tokens: int) -> Call:
        """The next call, were it accepted."""
        settings, number = self.settings, self.stats.accepted + 1
        draw = random.Random(f"{settings.seed}:{digest}:{self.attempts.get(digest, 0)}")  # noqa: S311
        clean = max(0.0, 1 - sum(settings.faults.values()))
        fault = draw.choices([None, *settings.faults], [clean, *settings.faults.values()])[0]
        latency_s = settings.latency_s * math.exp(draw.gauss(0, settings.latency_sigma))
        words = settings.output_words
        if words is not None:
            words = max(1, round(words * math.exp(draw.gauss(0, settings.output_sigma))))
        text = self.answerer(ask) if self.answerer else echo(ask, words)
        made, finish = self._tokens(text), "tool_calls" if ask.tool else "stop"
        limit = min(ask.max_output_tokens, settings.max_output_tokens or ask.max_output_tokens)
        if made > limit:
            text, made, finish = text[: len(text) * limit // made], limit, "length"
        said = Said(
            text=text,
            finish=finish,
            input_tokens=input_tokens,
            output_tokens=made,
            cached_tokens=int(input_tokens * settings.cached_share),
            reasoning_tokens=int(made * settings.reasoning_share),
        )
        fault = settings.fault_at.get(number, fault)
        said = self._spoilt(said, fault, ask.max_output_tokens)
        return Call(ask=ask, number=number, digest=digest, fault=fault, latency_s=latency_s, said=said)

    def drawn(self, ask: Ask, digest: int) -> Call:
        """The next call, accepted as the line of a batch: only faults that a line can show."""
        call = self._draw(ask, digest, self._input_tokens(ask))
        if call.fault is not None and call.fault not in STATUSES | SPOILT | {"overflow"}:
            settings = replace(self.settings, faults={}, fault_at={})
            call = Simulated(settings, self.answerer, self.count)._draw(ask, digest, self._input_tokens(ask))
        self.stats.accepted += 1
        self.attempts[digest] = self.attempts.get(digest, 0) + 1
        return replace(call, number=self.stats.accepted)

    def _cached(self, call: Call) -> Call:
        """The call with what it reads from the cache, or writes to it."""
        keeps = call.ask.keeps
        if not self.settings.prompt_cache or keeps is None or not call.said.input_tokens:
            return call
        tokens = min(self._tokens(keeps), call.said.input_tokens)
        if tokens < CACHED_FROM_TOKENS:
            return call
        name = {"cached_tokens" if keeps in self.kept else "written_tokens": tokens}
        return replace(call, said=replace(call.said, **name))  # type: ignore[arg-type]

    def _spoilt(self, said: Said, fault: str | None, most: int) -> Said:
        """What is said with `fault`, in `most` tokens; free ones say and cost nothing."""
        text = said.text
        if fault in FREE_FAULTS:
            said = Said(text="", finish="stop", input_tokens=0, output_tokens=0)
        elif fault == "empty":  # all of the output budget went into thinking
            said = replace(said, text="", finish="length", output_tokens=most, reasoning_tokens=most)
        elif fault == "cut":
            said = replace(said, text=text[: len(text) // 2], finish="length", output_tokens=most)
        elif fault == "repeat":
            sentence = " ".join(text.split()[:12] or ["again"]) + ". "
            times = most // max(1, self._tokens(sentence)) + 1
            said = replace(said, text=sentence * times, finish="length", output_tokens=most)
        elif fault == "invalid_json":
            broken = "Here is what I found: {'items': [{" + text[: len(text) // 2]
            made = min(self._tokens(broken), most)
            said = replace(said, text=broken, output_tokens=made, reasoning_tokens=min(said.reasoning_tokens, made))
        elif fault == "filter":
            said = replace(said, text="", finish="content_filter", output_tokens=0, reasoning_tokens=0)
        return said

    def bill(self, call: Call, share: float, *, arrived: bool) -> None:
        """Charge a call for its input and that share of its answer; `arrived`: the client was there to take it."""
        fault, said = call.fault, call.said
        made = int(said.output_tokens * share)
        tokens = (said.input_tokens, made, said.cached_tokens, min(said.reasoning_tokens, made))
        if call.ask.tier == "flex":
            self.stats.flex_input_tokens += said.input_tokens
            self.stats.flex_output_tokens += made
        self.stats.cache_write_tokens += said.written_tokens
        if said.written_tokens and call.ask.keeps is not None:
            self.kept[call.ask.keeps] = said.written_tokens
        outcome = fault or ("ok" if arrived else "abandoned")
        self.stats.bill(outcome, tokens, seen=arrived and fault not in UNSEEN_FAULTS)
        if arrived and fault in (None, "slow"):
            self.stats.whole(call.digest)

    def fault_reply(self, call: Call) -> web.Response | None:
        """The response of a fault that is answered without work; None for the others."""
        ask, fault, settings = call.ask, call.fault or "", self.settings
        kind, _, detail = fault.partition("_")
        if fault == "429_quota":
            return self.error(ask, 429, "You exceeded your current quota.", "insufficient_quota")
        if kind == "429":
            headers, fields = wait_hint(detail, settings.retry_after_s)  # type: ignore[arg-type]  # a Hint by its name
            return self.error(ask, 429, "Rate limit exceeded.", "rate_limit_exceeded", call.headers | headers, **fields)
        if fault.isdigit():
            return self.error(ask, int(fault), SERVER_ERRORS[int(fault)], "server_error")
        if kind == "200":
            return response(200, error_body(detail, 502, "Provider returned error", "server_error"))  # type: ignore[arg-type]
        window = settings.context_window or 8192
        processing = {"status": "processing", "id": call.number, "eta": math.ceil(settings.retry_after_s)}
        page = "<html><body>Please wait</body></html>"
        return {
            "overflow": self._overflow(ask, window, window),
            "processing": response(200, processing),
            "redirect": web.Response(status=307, headers={"location": "https://sign-in.invalid/"}),
            "content_type": web.Response(text=page, content_type="text/html"),
        }.get(fault)
