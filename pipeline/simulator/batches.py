"""The simulated batch services: OpenAI's files and batches, Anthropic's message batches, on a clock of seconds.

What becomes of a batch is drawn when it is made: a fate for the whole of it (`Settings.batch_faults`), and for each
line what a live call would have shown. Lines are done one by one in a shuffled order; what is done by the end is
billed, at half the price."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

import orjson
from docreduce.simulator.dialects import answer_body, error_body, parse_ask
from docreduce.simulator.settings import Service

if TYPE_CHECKING:
    from docreduce.simulator.service import Call, Simulated

__all__ = ["SPOILT", "STATUSES", "BatchRoom"]

Reply = tuple[int, bytes] | None
"""Status and body; None: the connection is reset."""
DONE_BEFORE_EXPIRY = 0.6
"""The share of an expired batch's lines that were done in time."""
STATUSES = frozenset({"400", "408", "500", "502", "503", "504", "529"})
SPOILT = frozenset({"empty", "cut", "repeat", "invalid_json", "filter", "no_usage"})
"""Faults of a call that a line can show; there is no connection to break here."""


@dataclass(slots=True, eq=False)
class _Line:
    custom_id: str
    call: Call
    rank: float  # in 0..1, when it is done
    done: bool = False


@dataclass(slots=True, eq=False)
class _Batch:
    id: str
    service: Service
    made: float
    made_at: float
    fate: str | None
    lines: list[_Line]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    cancelled: float | None = None
    ended: bool = False


class BatchRoom:
    """The batches of one account."""

    def __init__(self, simulated: Simulated, wall: Callable[[], float]) -> None:
        self._simulated, self._wall = simulated, wall
        self._files: dict[str, bytes] = {}
        self._batches: dict[str, _Batch] = {}
        self._submitted = 0
        self.custom_ids: set[str] = set()
        self.repeated_ids = 0

    def answer(  # noqa: PLR0911 - one response an address
        self, method: str, path: str, query: str, body: bytes, now: float
    ) -> Reply | str:
        """The response to a request of batches, "" where it is none."""
        self.advance(now)
        parts = path.strip("/").split("/")
        if parts[-1] == "files" and method == "POST":
            name = f"file-{len(self._files) + 1}"
            self._files[name] = body.split(b"application/jsonl\r\n\r\n", 1)[-1].rpartition(b"\r\n--")[0]
            return self._said({"id": name, "object": "file", "purpose": "batch"})
        if len(parts) > 2 and parts[-3] == "files" and parts[-1] == "content":
            return self._content(parts[-2])
        if "batches" not in parts:
            return ""
        at = parts.index("batches")
        service: Service = "anthropic" if at and parts[at - 1] == "messages" else "openai"
        below = parts[at + 1 :]
        if not below:
            return self._make(service, body, now) if method == "POST" else self._list(service, query)
        batch = self._batches.get(below[0])
        if batch is None:
            return 404, orjson.dumps(error_body(service, 404, "No such batch", "not_found"))  # type: ignore[arg-type]
        if below[1:] == ["cancel"]:
            if not batch.ended and batch.cancelled is None:
                batch.cancelled = now
                self.advance(now)
        elif below[1:] == ["results"]:
            if not batch.ended:
                return 404, orjson.dumps(error_body("anthropic", 404, "Results are not available yet"))
            return 200, b"\n".join(orjson.dumps(self._anthropic_row(batch, line)) for line in _shuffled(batch.lines))
        return self._said(self._shown(batch))

    def advance(self, now: float) -> None:
        """Do what is due by `now`, and bill it."""
        length = max(self._simulated.settings.batch_s, 1e-9)
        for batch in self._batches.values():
            if batch.ended:
                continue
            until = min(1.0, ((now if batch.cancelled is None else batch.cancelled) - batch.made) / length)
            limit = DONE_BEFORE_EXPIRY if batch.fate == "expired" else 0.0 if batch.fate == "failed" else 1.0
            if until >= 1.0 or batch.cancelled is not None:
                batch.ended = True
                for line in batch.lines:
                    line.done = line.rank <= min(until, limit)
                    self._bill(line)

    def _bill(self, line: _Line) -> None:
        call, stats = line.call, self._simulated.stats
        if not line.done:
            return
        if call.fault in STATUSES or call.fault == "overflow":
            stats.ended(call.fault or "")
            return
        self._simulated.bill(call, 1.0, arrived=True)
        stats.batch_input_tokens += call.said.input_tokens
        stats.batch_output_tokens += call.said.output_tokens

    def _make(self, service: Service, body: bytes, now: float) -> Reply:
        asked = orjson.loads(body)
        if service == "openai":
            rows = [orjson.loads(row) for row in self._files[asked["input_file_id"]].splitlines() if row.strip()]
            pairs = [(row["custom_id"], row["body"]) for row in rows]
        else:
            pairs = [(row["custom_id"], row["params"]) for row in asked["requests"]]
        self._submitted += 1
        number = self._submitted
        simulated = self._simulated
        draw = random.Random(f"{simulated.settings.seed}:batch:{number}")  # noqa: S311
        faults = simulated.settings.batch_faults
        fate = draw.choices([None, *faults], [max(0.0, 1 - sum(faults.values())), *faults.values()])[0]
        if fate == "lost":
            return None
        if fate == "refused":
            return 429, orjson.dumps(error_body(service, 429, "Enqueued token limit reached", "rate_limit_exceeded"))  # type: ignore[arg-type]
        lines = []
        for custom_id, params in pairs:
            self.repeated_ids += custom_id in self.custom_ids
            self.custom_ids.add(custom_id)
            content = orjson.dumps(params)
            digest = zlib.crc32(content) << 32 | len(content)
            call = simulated.drawn(parse_ask(service, params), digest)
            lines.append(_Line(custom_id=custom_id, call=call, rank=draw.random()))
        batch = _Batch(
            id=f"{'msgbatch' if service == 'anthropic' else 'batch'}_{number}",
            service=service,
            made=now,
            made_at=self._wall(),
            fate=fate,
            lines=lines,
            metadata=asked.get("metadata") or {},
        )
        self._batches[batch.id] = batch
        simulated.stats.batches += 1
        if fate == "unseen":  # made, and nobody hears of it
            return None
        return self._said(self._shown(batch))

    def _list(self, service: Service, query: str) -> Reply:
        asked = {name: values[0] for name, values in parse_qs(query).items()}
        mine = [batch for batch in reversed(self._batches.values()) if batch.service == service]
        after = asked.get("after") or asked.get("after_id")
        if after:
            mine = mine[[batch.id for batch in mine].index(after) + 1 :]
        page = int(asked.get("limit", 20))
        return self._said({"data": [self._shown(batch) for batch in mine[:page]], "has_more": len(mine) > page})

    def _shown(self, batch: _Batch) -> dict[str, Any]:
        if batch.service == "anthropic":
            kinds = [_kind(batch, line) for line in batch.lines] if batch.ended else []
            counts = {name: kinds.count(name) for name in ("succeeded", "errored", "canceled", "expired")}
            return {
                "id": batch.id,
                "type": "message_batch",
                "processing_status": "ended" if batch.ended else "in_progress",
                "request_counts": {"processing": len(batch.lines) - len(kinds), **counts},
                "created_at": datetime.fromtimestamp(batch.made_at, UTC).isoformat().replace("+00:00", "Z"),
            }
        status = "in_progress" if not batch.ended else "cancelled" if batch.cancelled is not None else batch.fate
        if status in (None, "unseen"):
            status = "completed"
        shown: dict[str, Any] = {
            "id": batch.id,
            "object": "batch",
            "status": status,
            "created_at": int(batch.made_at),
            "metadata": batch.metadata,
        }
        if batch.ended and status == "failed":
            shown["errors"] = {"data": [{"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}]}
        elif batch.ended:
            shown |= {"output_file_id": f"out-{batch.id}", "error_file_id": f"err-{batch.id}"}
        return shown

    def _content(self, name: str) -> Reply:
        kind, _, number = name.partition("-")
        batch = self._batches[number]
        answered = [line for line in _shuffled(batch.lines) if _kind(batch, line) == "succeeded"]
        failed = [line for line in _shuffled(batch.lines) if _kind(batch, line) != "succeeded"]
        rows = [_openai_row(batch, line) for line in (answered if kind == "out" else failed)]
        return 200, b"\n".join(map(orjson.dumps, rows))

    def _anthropic_row(self, batch: _Batch, line: _Line) -> dict[str, Any]:
        kind = _kind(batch, line)
        result: dict[str, Any] = {"type": kind}
        if kind == "succeeded":
            result["message"] = _body(line)
        elif kind == "errored":
            result["error"] = _error(line)
        return {"custom_id": line.custom_id, "result": result}

    @staticmethod
    def _said(body: Any) -> Reply:
        return 200, orjson.dumps(body)


def _kind(batch: _Batch, line: _Line) -> str:
    """What became of a line, in Anthropic's words."""
    if not line.done:
        return "expired" if batch.cancelled is None else "canceled"
    return "errored" if line.call.fault in STATUSES or line.call.fault == "overflow" else "succeeded"


def _openai_row(batch: _Batch, line: _Line) -> dict[str, Any]:
    kind, row = _kind(batch, line), {"id": f"row-{line.call.number}", "custom_id": line.custom_id, "response": None}
    if kind in ("expired", "canceled"):
        code = "batch_expired" if kind == "expired" else "batch_cancelled"
        return {**row, "error": {"code": code, "message": "This request was not executed."}}
    status = 200 if kind == "succeeded" else int(line.call.fault or 0) if line.call.fault in STATUSES else 400
    body = _body(line) if kind == "succeeded" else _error(line)
    answered = {"status_code": status, "request_id": f"req_{line.call.number}", "body": body}
    return {**row, "response": answered, "error": None}


def _body(line: _Line) -> dict[str, Any]:
    return answer_body(line.call.ask, line.call.said, line.call.number, with_usage=line.call.fault != "no_usage")


def _error(line: _Line) -> dict[str, Any]:
    call = line.call
    shape = "anthropic" if call.ask.service == "anthropic" else "openai"
    if call.fault == "overflow":
        words = "prompt is too long: 9000 tokens > 8192 maximum"
        return error_body(shape, 400, words, "context_length_exceeded")  # type: ignore[arg-type]
    status = int(call.fault or 500)
    return error_body(shape, status, "The service failed", "server_error")  # type: ignore[arg-type]


def _shuffled(lines: Sequence[_Line]) -> list[_Line]:
    return sorted(lines, key=lambda line: line.rank)
