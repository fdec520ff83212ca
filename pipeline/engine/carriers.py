"""Who carries a call: a service over HTTP, or the embedded answers of the kind itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Protocol

from docreduce.desk import Ticket
from docreduce.text.tokens import Tokenizer
from docreduce.values import Answer, Cause, Decision, Rejection, Reply, Request, Usage

__all__ = ["Carrier", "Embedded", "Live", "Provider"]


class Carrier(Protocol):
    """Makes one attempt. Never raises for what the service or the network does."""

    async def carry(self, ticket: Ticket) -> Reply: ...

    async def aclose(self) -> None: ...


class Provider(Protocol):
    """A service that answers requests; gives up after `timeout_s` seconds with a TIMEOUT rejection. `notes` are what
    the user should be told, once each; the list grows."""

    @property
    def notes(self) -> Sequence[str]: ...

    async def send(self, request: Request, *, timeout_s: float) -> Reply: ...

    async def aclose(self) -> None: ...


class Live:
    """Calls over the wire, one at a time each. `note` is told what the wire has to say, once each."""

    def __init__(self, provider: Provider, note: Callable[[str], None] = lambda _: None) -> None:
        self._provider = provider
        self._note = note
        self._told = 0
        self._window: int | None = None  # what the server seems to read, where that is less than it is sent

    async def carry(self, ticket: Ticket) -> Reply:
        reply = await self._provider.send(ticket.request, timeout_s=ticket.timeout_s)
        notes = self._provider.notes
        for message in notes[self._told :]:
            self._note(message)
        self._told = len(notes)
        if isinstance(reply, Answer) and reply.truncated and reply.usage and self._window is None:
            self._window = reply.usage.input_tokens
            self._note(
                f"{ticket.route.model} reads only about {self._window:,} tokens of a request of about "
                f"{ticket.request.tokens:,}: set model.context_window to what the server really has"
            )
        return reply

    async def aclose(self) -> None:
        await self._provider.aclose()


class Embedded:
    """Answers from the text alone, made in a thread: no model, no key, no network, price zero. Every answer is whole.

    They pass desk, ledger and accounting as any other answer does."""

    def __init__(self, answer: Callable[[Request], str], tokenizer: Tokenizer) -> None:
        self._answer = answer
        self._tokenizer = tokenizer

    async def carry(self, ticket: Ticket) -> Reply:
        return await asyncio.to_thread(self._made, ticket.request)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _made(self, request: Request) -> Reply:
        try:
            text = self._answer(request)
        except ValueError as error:
            return Rejection(cause=Cause.BAD_REQUEST, decision=Decision.FAIL, message=str(error))
        usage = Usage(input_tokens=request.tokens, output_tokens=self._tokenizer.count(text))
        return Answer(text=text, finish_reason="stop", usage=usage)
