"""The batch services: many requests in one go, at half the price, answered within a day.

One class a form, with the same four questions: `submit`, `find`, `look`, `results`, and `cancel`. A batch carries our
token: with OpenAI's form in its metadata, with Anthropic's, which has none, at the head of every custom id. So after
a crash between a submission and its answer the service's own list says whether there is such a batch; nothing is ever
sent again in hope.

Sources: OpenAI's API reference of /files and /batches; Anthropic's of /v1/messages/batches.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, cast

import orjson
from docreduce.providers.dialect import HttpRequest, HttpResponse, listing, mapping, word
from docreduce.providers.faults import clean, find_fault, parse
from docreduce.values import Cause, Decision, Rejection
from docreduce.values.errors import RefusedError

if TYPE_CHECKING:
    from docreduce.providers.http import HttpProvider

__all__ = ["BatchService", "Found", "Refusal", "Seen", "batch_service"]

MAX_RESULT_BYTES = 2**30
"""Of a batch's results: 50,000 answers of 20 kB."""
TIMEOUT_S = 300.0
"""Of an upload or a download of some hundred megabytes."""
PAGE = 100
"""Batches in one page of a service's list: what both give at most (OpenAI 100, Anthropic 1,000)."""
_ERRORS = {
    "invalid_request_error": 400, "authentication_error": 401, "billing_error": 402, "permission_error": 403,
    "not_found_error": 404, "request_too_large": 413, "rate_limit_error": 429, "overloaded_error": 529,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A submission that was refused, so that nothing was taken on: what was said."""

    response: HttpResponse


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """How a batch stands. `files` of its results; `said`: why it failed."""

    ended: bool
    state: str
    files: Sequence[str] = ()
    said: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """What a service's list says of a submission that nobody saw answered: the batch's id where it is there;
    `open`: it may be one of those that have not ended yet."""

    service_id: str | None = None
    open: bool = False


Line = tuple[str, bytes]
"""A request's custom id and its body in JSON."""
Result = tuple[str, HttpResponse | Rejection]
"""A custom id and what came of it."""
Exchange = Callable[[HttpRequest], Awaitable[HttpResponse]]


class BatchService(Protocol):
    """One service's batches. Everything raises RefusedError where the service cannot be reached or makes no sense."""

    max_lines: int
    max_bytes: int

    async def submit(self, token: str, lines: Sequence[Line]) -> str | Refusal:
        """The id of the new batch. A RefusedError leaves open whether there is one, unless its kind is "unsent"."""
        ...

    async def find(self, token: str, since: float, calls: int, known: set[str]) -> Found:
        """Look for the batch that was submitted with `token` and so many `calls` after `since` (seconds since the
        epoch); `known` are ids of others."""
        ...

    async def look(self, service_id: str) -> Seen: ...

    async def results(self, service_id: str, seen: Seen) -> list[Result]:
        """What came of the requests of a batch that has ended, in any order."""
        ...

    async def cancel(self, service_id: str) -> None: ...


def batch_service(provider: HttpProvider, dialect: str, path: str) -> BatchService | None:
    """The batches of a provider whose requests go to `path`; None where its dialect has none."""
    form = {"openai": OpenAIBatches, "anthropic": AnthropicBatches}.get(dialect)
    if form is None:
        return None

    async def exchange(call: HttpRequest) -> HttpResponse:
        return await provider.exchange(call, timeout_s=TIMEOUT_S, max_bytes=MAX_RESULT_BYTES)

    return cast(BatchService, form(exchange, path))


@dataclass(slots=True)
class OpenAIBatches:
    """A file of requests, a batch over it, and a file each of answers and of errors."""

    exchange: Exchange
    path: str
    max_lines: int = 50_000
    max_bytes: int = 200_000_000

    async def submit(self, token: str, lines: Sequence[Line]) -> str | Refusal:
        url = self.path if self.path.startswith("/v1/") else f"/v1{self.path}"
        head = b'","method":"POST","url":"' + url.encode() + b'","body":'
        content = b"\n".join(b'{"custom_id":"' + name.encode() + head + body + b"}" for name, body in lines)
        try:
            uploaded = await self.exchange(_upload(token, content))
        except RefusedError as error:  # a file alone is no batch
            raise RefusedError(error.message, kind="unsent") from error
        file = mapping(parse(uploaded.body))
        if uploaded.status >= 300 or not word(file.get("id")):
            return Refusal(response=uploaded)
        asked = {
            "input_file_id": file["id"],
            "endpoint": url,
            "completion_window": "24h",
            "metadata": {"docreduce": token},
        }
        return _id_or_refusal(await self.exchange(_post("/batches", asked)))

    async def find(self, token: str, since: float, calls: int, known: set[str]) -> Found:
        after = ""
        while True:
            page = _good(await self.exchange(_get(f"/batches?limit={PAGE}{after}")))
            rows = [mapping(row) for row in listing(page.get("data"))]
            for row in rows:
                if mapping(row.get("metadata")).get("docreduce") == token:
                    return Found(service_id=word(row.get("id")))
            # The newest come first; a clock may be some minutes off.
            if not page.get("has_more") or not rows or _made(rows[-1]) < since - CLOCKS_S:
                return Found()
            after = f"&after={rows[-1].get('id')}"

    async def look(self, service_id: str) -> Seen:
        body = _good(await self.exchange(_get(f"/batches/{service_id}")))
        state = word(body.get("status")) or ""
        files = [name for key in ("output_file_id", "error_file_id") if (name := word(body.get(key)))]
        errors = [mapping(each) for each in listing(mapping(body.get("errors")).get("data"))]
        said = "; ".join(f"{each.get('code') or ''}: {each.get('message') or ''}" for each in errors)
        ended = state in ("completed", "failed", "expired", "cancelled")
        return Seen(ended=ended, state=state, files=files, said=clean(said))

    async def results(self, service_id: str, seen: Seen) -> list[Result]:
        found = []
        for file in seen.files:
            response = await self.exchange(_get(f"/files/{file}/content"))
            _good(response, rows=True)
            found += [_openai_result(row) for row in _rows(response.body)]
        return found

    async def cancel(self, service_id: str) -> None:
        _good(await self.exchange(_post(f"/batches/{service_id}/cancel", {})))


@dataclass(slots=True)
class AnthropicBatches:
    """The requests themselves, and one list of results; no metadata, so that the token stands in every custom id."""

    exchange: Exchange
    path: str
    max_lines: int = 100_000
    max_bytes: int = 256_000_000

    async def submit(self, token: str, lines: Sequence[Line]) -> str | Refusal:
        parts = (b'{"custom_id":"' + name.encode() + b'","params":' + body + b"}" for name, body in lines)
        body = b'{"requests":[' + b",".join(parts) + b"]}"
        return _id_or_refusal(await self.exchange(HttpRequest(path=self._below(), headers={}, body=body)))

    async def find(self, token: str, since: float, calls: int, known: set[str]) -> Found:
        after, undecided = "", False
        while True:
            page = _good(await self.exchange(_get(f"{self._below()}?limit={PAGE}{after}")))
            rows = [mapping(row) for row in listing(page.get("data"))]
            for row in rows:
                name = word(row.get("id"))
                counts = mapping(row.get("request_counts")).values()
                if not name or name in known or sum(n for n in counts if isinstance(n, int)) != calls:
                    continue
                if row.get("processing_status") != "ended":
                    undecided = True
                elif await self._is_ours(name, token):
                    return Found(service_id=name)
            if not page.get("has_more") or not rows or _made(rows[-1]) < since - CLOCKS_S:
                return Found(open=undecided)
            after = f"&after_id={rows[-1].get('id')}"

    async def _is_ours(self, name: str, token: str) -> bool:
        response = await self.exchange(_get(f"{self._below()}/{name}/results"))
        return any(str(row.get("custom_id")).startswith(f"{token}-") for row in _rows(response.body))

    async def look(self, service_id: str) -> Seen:
        body = _good(await self.exchange(_get(f"{self._below()}/{service_id}")))
        state = word(body.get("processing_status")) or ""
        return Seen(ended=state == "ended", state=state)

    async def results(self, service_id: str, seen: Seen) -> list[Result]:
        response = await self.exchange(_get(f"{self._below()}/{service_id}/results"))
        _good(response, rows=True)
        return [_anthropic_result(row) for row in _rows(response.body)]

    async def cancel(self, service_id: str) -> None:
        _good(await self.exchange(_post(f"{self._below()}/{service_id}/cancel", {})))

    def _below(self) -> str:
        return f"{self.path}/batches"


CLOCKS_S = 600.0
"""What our clock and a service's may differ by."""


def _openai_result(row: Mapping[str, Any]) -> Result:
    name, answered, error = str(row.get("custom_id")), mapping(row.get("response")), mapping(row.get("error"))
    if answered:
        status = answered.get("status_code")
        headers = {"x-request-id": said} if (said := word(answered.get("request_id"))) else {}
        body = orjson.dumps(answered.get("body"))
        return name, _response(status if isinstance(status, int) else 200, body, headers)
    return name, _undone(f"{error.get('code') or 'error'}: {error.get('message') or ''}")


def _anthropic_result(row: Mapping[str, Any]) -> Result:
    name, result = str(row.get("custom_id")), mapping(row.get("result"))
    kind = result.get("type")
    if kind == "succeeded":
        return name, _response(200, orjson.dumps(result.get("message")))
    if kind == "errored":
        fault = find_fault(result.get("error"))
        status = next((_ERRORS[term] for term in (fault.terms if fault else ()) if term in _ERRORS), 500)
        return name, _response(status, orjson.dumps(result.get("error")))
    return name, _undone(str(kind))


def _undone(said: str) -> Rejection:
    """Not asked before the batch ended: free, and to be asked again."""
    message = clean(f"not done in its batch: {said}")
    return Rejection(cause=Cause.SERVER_ERROR, decision=Decision.RETRY, message=message, billing="free")


def _response(status: int, body: bytes, headers: Mapping[str, str] = {}) -> HttpResponse:
    return HttpResponse(
        status=status, headers={"content-type": "application/json", **headers}, body=body, received_at=0
    )


def _rows(body: bytes) -> list[Mapping[str, Any]]:
    return [mapping(parse(line)) for line in body.split(b"\n") if line.strip()]


def _get(path: str) -> HttpRequest:
    return HttpRequest(path=path, headers={}, body=b"")


def _post(path: str, body: Mapping[str, Any]) -> HttpRequest:
    return HttpRequest(path=path, headers={}, body=orjson.dumps(body))


def _upload(token: str, content: bytes) -> HttpRequest:
    """The file as multipart/form-data (RFC 7578); the token, of hexadecimal digits, is no part of any JSON line."""
    mark = f"docreduce-{token}"
    head = (
        f'--{mark}\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nbatch\r\n'
        f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{token}.jsonl"\r\n'
        "Content-Type: application/jsonl\r\n\r\n"
    )
    body = head.encode() + content + f"\r\n--{mark}--\r\n".encode()
    return HttpRequest(path="/files", headers={"content-type": f"multipart/form-data; boundary={mark}"}, body=body)


def _id_or_refusal(response: HttpResponse) -> str | Refusal:
    found = word(mapping(parse(response.body)).get("id"))
    if response.status < 300 and found:
        return found
    if response.status >= 500 or response.status < 300:  # it may have been taken on all the same
        raise RefusedError(f"HTTP {response.status} to the submission of a batch")
    return Refusal(response=response)


def _good(response: HttpResponse, *, rows: bool = False) -> Mapping[str, Any]:
    body = {} if rows else parse(response.body)
    if response.status < 300 and (rows or isinstance(body, dict)):
        return mapping(body)
    fault = find_fault(parse(response.body))
    raise RefusedError(clean(f"HTTP {response.status}: {fault.message if fault else 'no JSON object'}"))


def _made(row: Mapping[str, Any]) -> float:
    """When a batch was made, in seconds since the epoch; 0 where it does not say."""
    from datetime import datetime

    stated = row.get("created_at")
    if isinstance(stated, str):
        try:
            return datetime.fromisoformat(stated).timestamp()
        except ValueError:
            return 0.0
    return float(stated) if isinstance(stated, int | float) else 0.0
