"""From a response to an `Answer` or a `Rejection`, the same for every dialect. Pure, and total: any bytes will do.

An answer is whole, or cut by its limit, or it is a rejection that says why not: thoughts are taken out here, endings
are on a list, usage is reconciled, and nobody looks at that again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
from docreduce.providers.dialect import MOST_TOKENS, Call, Dialect, HttpResponse, mapping
from docreduce.providers.draft import Draft, ending, looping, loops
from docreduce.providers.faults import MOST_MESSAGE_CHARS, Fault, clean, find_fault, parse, request_id
from docreduce.providers.leaks import leaked_call
from docreduce.providers.refusals import bad_body, ignored_form, reject, rejection
from docreduce.providers.schemas import without_nulls
from docreduce.providers.stream import Events
from docreduce.providers.usage import cut_short
from docreduce.providers.waits import rate_info
from docreduce.values import Answer, Billing, Cause, Decision, FinishReason, Rejection, Reply, Usage

__all__ = ["StreamReader", "decode", "settle"]

_LOOP_STEP_CHARS = 1000
_SHOWN_KEYS = 8
_GLUED = b"data: [DONE]"
"""A stream's end that some put right behind a whole answer."""
_FENCE = re.compile(r"\A\s*```\w*\n|\n```\s*\Z")
_JSON = re.compile(r"\s*(?:```\w*\s*)?[\[{]")
_ROOM_FACTOR = 4
"""Thinking that took all there was is given so many times as much; how much more it wanted, nobody knows."""
_MUCH_FACTOR = 2
"""Some servers call every end a stop: who used more than one part in so many of the room may have had too little."""


def decode(dialect: Dialect, call: Call, response: HttpResponse) -> Reply:
    """The answer in `response`, or why there is none. Never raises."""
    ok = 200 <= response.status < 300
    if ok and response.body.lstrip()[:6].startswith((b"data:", b"event:", b": ")):
        return _streamed(dialect, call, response)  # a stream under another name
    body = parse(response.body)
    if ok and body is None and (_is_lines(response.body) or response.body.rstrip().endswith(_GLUED)):
        return _streamed(dialect, call, response)
    fault = _fault(body, call)
    if fault or not ok:
        usage = dialect.usage(mapping(mapping(body).get("usage")))
        return reject(fault, call, response, usage)
    if not isinstance(body, dict):
        kind = response.headers.get("content-type", "no content type")
        return bad_body(response, f"no JSON object ({kind}, {len(response.body)} bytes)")
    draft = Draft()
    dialect.read(body, draft)
    if not draft.found:
        keys = ", ".join(map(repr, sorted(body)[:_SHOWN_KEYS]))
        return bad_body(response, f"JSON without an answer as {dialect.name} gives one; its keys: {keys or 'none'}")
    return settle(dialect, call, response, draft)


def settle(dialect: Dialect, call: Call, response: HttpResponse, draft: Draft) -> Reply:
    """A draft that is complete, as the answer it is: cut, empty, looping and filtered ones by their cause."""
    if not draft.found:
        return bad_body(response, "JSON without an answer")
    draft.unroll()
    if call.sent.form == "tools" and not draft.called:
        draft.add_call(0, leaked_call("".join(draft.content)))
    usage, chars = dialect.usage(draft.usage), draft.chars + draft.thoughts
    text, finish = draft.text, _ending(draft, usage, call)
    word = clean(call.redact(draft.finish))[:100] if draft.finish else None
    identity = request_id(response) or (clean(call.redact(draft.id))[:200] if draft.id else None)
    refused: Rejection | None = None
    if why := _why_not(call, draft, text, finish, usage):
        cause, message = why
        billing: Billing = "charged" if usage and finish != "error" else "unknown"
        # Nothing but more room helps where thinking took all of it.
        decision = Decision.FAIL if cause is Cause.EMPTY and finish == "length" else None
        refused = rejection(cause, call.redact(message), response, billing, decision=decision, usage=usage)
    else:
        found = _in_form(call, draft, text)
        text, refused = (found, None) if found is not None else ("", ignored_form(call, response, usage))
    if refused:
        return replace(refused, finish=word, service_tier=draft.tier, request_id=identity, chars=chars)
    return Answer(
        text=text,
        finish_reason=finish,
        usage=usage,
        finish=word,
        service_tier=draft.tier,
        http_status=response.status,
        request_id=identity,
        rate=rate_info(response.headers, response.received_at),
        truncated=cut_short(usage, call),
        chars=chars,
    )


def _ending(draft: Draft, usage: Usage | None, call: Call) -> FinishReason:
    """Why the answer ended. Where no word says so, its length tells whether it was cut."""
    if draft.finish:
        return ending(draft.finish)
    return "length" if usage and usage.output_tokens >= call.limit else "stop"


def _why_not(
    call: Call, draft: Draft, text: str, finish: FinishReason, usage: Usage | None
) -> tuple[Cause, str] | None:
    """The cause and the words for which `text` is no answer; None where it is one."""
    if draft.refusal or finish == "content_filter":
        said = "".join(draft.refusal)
        return Cause.CONTENT_FILTER, said or f"the answer was withheld by a filter ({draft.finish})"
    if finish == "error":
        return Cause.SERVER_ERROR, f"generation ended in {draft.finish!r}, which ends no whole answer"
    if not text.strip():
        return Cause.EMPTY, _no_room(call, usage) if finish == "length" else _no_words(call, draft, usage)
    structured = call.request.schema is not None
    # Some servers call every end a stop: a text is as long then as one that would have been cut in a stream. Rows of a
    # whole JSON may truly be equal.
    if loops(text, structured=structured) and (
        finish == "length" or (not structured and looping(text, min_chars=_LOOP_STEP_CHARS))
    ):
        return Cause.LOOP, f"the answer repeats itself: …{call.redact(text[-MOST_MESSAGE_CHARS:])[-80:]}"
    return None


def _no_room(call: Call, usage: Usage | None) -> str:
    spent = _spent(usage) if usage else call.limit
    return (
        f"the model spent its {spent} output tokens before the first word of an answer, on thinking most likely: "
        f"set {_more_room(call, spent)}"
    )


def _no_words(call: Call, draft: Draft, usage: Usage | None) -> str:
    """The words for an answer that ended by itself and says nothing; more room helps where much of it was used."""
    spent = f" after {_spent(usage)} output tokens" if usage else ""
    if not draft.chars + draft.thoughts:
        return f"empty content ({draft.finish}){spent}"
    much = usage is None or _MUCH_FACTOR * usage.output_tokens >= call.limit
    room = f", or set {_more_room(call, _spent(usage) if usage else 0)}" if much else ""
    return f"nothing but thoughts ({draft.finish}){spent}: turn thinking off, or take a model that thinks less{room}"


def _more_room(call: Call, spent: int) -> str:
    limit = call.limit
    return f"model.max_output_tokens to {max(_ROOM_FACTOR * limit, spent + limit)} or more (it is {limit})"


def _spent(usage: Usage) -> int:
    return min(usage.output_tokens, MOST_TOKENS)


_FRAME = {"items", "rows", "row", "evidence"}
_WORD = re.compile(r"[^\W\d]\w*")  # of a path, too: lines[0].amount


def _in_form(call: Call, draft: Draft, text: str) -> str | None:
    """`text` where it has the form that was asked for, or the form has brought answers before; None where the service
    ignores it: prose, or an object by another schema, which stood in no prompt."""
    schema, form, proven = call.request.schema or "{}", call.sent.form, call.asking.proven
    if form == "json_schema" and call.manner.strict:
        text = without_nulls(text, schema)
    if form is None or form in proven or form in ("prompt", "json_object"):
        return text
    valid = draft.called or _is_valid(text, schema)
    if valid:
        proven.add(form)
    # JSON that broke off or came out broken says nothing of who follows the schema; one that names the schema's fields
    # comes from somebody who has read it, and what is wrong with it ("1,250" for a number) is for the kind to judge.
    return text if valid or (_JSON.match(text) if valid is None else _names_fields(text, schema)) else None


def _names_fields(text: str, schema: str) -> bool:
    """Whether most of the keys in an answer, but for the frame that a prompt may name, are fields of the schema."""
    answer, asked = orjson.loads(_FENCE.sub("", text)), orjson.loads(schema)
    used = {word for key, _ in _members(answer) for word in _WORD.findall(key)} - _FRAME
    named = [part for key, part in _members(asked) if key == "properties" and isinstance(part, dict)]
    fields = {word for part in named for name in part for word in _WORD.findall(name)}
    return 2 * len(used & fields) > len(used)


def _members(value: Any) -> Iterator[tuple[str, Any]]:
    """The members of all objects in a JSON value."""
    stack = [value]
    while stack:
        node = stack.pop()
        if isinstance(node, dict):
            yield from node.items()
            stack += node.values()
        elif isinstance(node, list):
            stack += node


def _is_valid(text: str, schema: str) -> bool | None:
    """Whether `text` is JSON that is valid by `schema`; None where it is no JSON."""
    import jsonschema_rs

    try:
        value = orjson.loads(_FENCE.sub("", text))
    except ValueError:
        return None
    try:
        return jsonschema_rs.is_valid(orjson.loads(schema), value)
    except (ValueError, jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError):
        return None


class StreamReader:
    """Feed it the bytes of a stream; `reply` is set when it is over early, `finish()` settles what came."""

    def __init__(self, dialect: Dialect, call: Call, head: HttpResponse) -> None:
        self.reply: Reply | None = None
        self._dialect = dialect
        self._call = call
        self._head = head
        self._draft = Draft()
        self._events = Events()
        self._next_look = _LOOP_STEP_CHARS

    def feed(self, part: bytes) -> bool:
        """Take the next bytes; True if the answer or its thoughts grew (comments, pings, empty deltas are none)."""
        before = self._draft.progress
        self._take(self._events.feed(part))
        if self.reply is None and self._draft.chars >= self._next_look:
            self._next_look = self._draft.chars + _LOOP_STEP_CHARS
            self._look_for_a_loop()
        return self._draft.progress > before

    def finish(self) -> Reply:
        """The reply once the stream is at its end."""
        self._take(self._events.rest())
        if self.reply is not None:
            return self.reply
        if not self._draft.done and self._draft.finish is None:
            return bad_body(self._head, "the stream broke off")
        return settle(self._dialect, self._call, self._head, self._draft)

    def _take(self, events: list[bytes]) -> None:
        for data in events:
            if self.reply is not None:
                return
            # Some end an event with its line, so that several stand in one.
            for part in data.split(b"\n") if b"\n" in data and parse(data) is None else [data]:
                if self.reply is None:
                    self._one(part)

    def _one(self, data: bytes) -> None:
        if data.upper() == b"[DONE]":
            self._end()
        else:
            self._event(data.removesuffix(_GLUED).rstrip())

    def _event(self, data: bytes) -> None:
        event = parse(data)
        if event is None and not data.startswith((b"{", b"[", b"<")):  # an error in plain words
            fault: Fault | None = Fault(message=data.decode("utf-8", "replace"), page=True)
        else:
            fault = _fault(event, self._call)
        if fault:
            refused = reject(fault, self._call, self._head)
            # What had come until then may be charged, whatever the words.
            begun = self._draft.progress > 0 and refused.billing == "free"
            self.reply = replace(refused, billing="unknown") if begun else refused
        elif not isinstance(event, dict):
            self.reply = bad_body(self._head, "an event that is no JSON object")
        else:
            self._dialect.read_event(event, self._draft)
            if self._draft.done:
                self._end()

    def _end(self) -> None:
        self._draft.done = True
        self.reply = settle(self._dialect, self._call, self._head, self._draft)

    def _look_for_a_loop(self) -> None:
        text = self._draft.text
        if loops(text, structured=self._call.request.schema is not None):
            # Usage would have come with the last event.
            words = f"cut early: the answer repeats itself: …{self._call.redact(text[-MOST_MESSAGE_CHARS:])[-80:]}"
            self.reply = rejection(Cause.LOOP, words, self._head)


def _is_lines(body: bytes) -> bool:
    """Whether a body that is no JSON begins as JSON a line each (NDJSON); what is broken among them is for the reader
    of streams to say."""
    first, newline, rest = body.strip().partition(b"\n")
    return bool(newline) and bool(rest) and isinstance(parse(first), dict)


def _fault(body: object, call: Call) -> Fault | None:
    if find_fault(body) is None:
        return None
    return find_fault(body, call.asked)


def _streamed(dialect: Dialect, call: Call, response: HttpResponse) -> Reply:
    reader = StreamReader(dialect, call, response)
    reader.feed(response.body)
    return reader.reply or reader.finish()
