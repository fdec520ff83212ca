"""The embedded provider: extractive, deterministic, no model, no key, no network, price zero.

It answers as a chat model would, through dispatch, ledger and accounting: a summary where the request
has no schema, an item of the fields it finds where it has one. It reads the source text, which stands
alone in the last user message, and the request's own terms; the instructions are not understood.
"""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING

from docreduce.kinds.extract.offline import extract_items
from docreduce.kinds.summarize.offline import summarize
from docreduce.values import Answer, Cause, Decision, Rejection, Reply, Request, Usage

if TYPE_CHECKING:
    from docreduce.text.tokens import Tokenizer

__all__ = ["DEFAULT_MAX_WORDS", "MODEL", "OfflineProvider"]

MODEL = "extractive-1"
"""The model name: marks every output as sentences and values taken from the text, not written."""

DEFAULT_MAX_WORDS = 300

_SURROGATE = re.compile("[\ud800-\udfff]")


class OfflineProvider:
    """Answers from the text alone. Usage is counted with `tokenizer`; every request ends with "stop"."""

    name = "offline"

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    async def send(self, request: Request, *, timeout_s: float) -> Reply:
        """The answer, or a TIMEOUT rejection after `timeout_s` seconds; BAD_REQUEST for a schema that is
        no schema of an object. Works in a thread."""
        try:
            async with asyncio.timeout(timeout_s):
                return await asyncio.to_thread(self._answer, request)
        except TimeoutError:
            message = f"the text took longer than {timeout_s} s"
            return Rejection(cause=Cause.TIMEOUT, decision=Decision.RETRY, message=message)

    async def aclose(self) -> None:
        """Nothing is held."""

    def _answer(self, request: Request) -> Reply:
        source = next((message.content for message in reversed(request.messages) if message.role == "user"), "")
        source = _SURROGATE.sub("\ufffd", source)  # as a service would read it; offsets stay
        if request.schema is None:
            text = summarize(
                source,
                max_words=request.max_words or DEFAULT_MAX_WORDS,
                max_tokens=request.max_output_tokens,
                count=self._tokenizer.count,
                shorten=request.stage == "map",
            )
        else:
            try:
                text = extract_items(source, request.schema)
            except ValueError as error:
                return Rejection(cause=Cause.BAD_REQUEST, decision=Decision.FAIL, message=str(error))
        asked = request.input_tokens or sum(self._tokenizer.count(message.content) for message in request.messages)
        usage = Usage(input_tokens=asked, output_tokens=self._tokenizer.count(text))
        return Answer(text=text, finish_reason="stop", usage=usage)
