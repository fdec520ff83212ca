"""The room a request has, for every kind alike."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from docreduce.text.tokens import Tokenizer
from docreduce.values import FRAME_TOKENS, Message
from docreduce.values.errors import JobError

__all__ = ["Plan"]

SCHEMA_TOKENS = 50
"""What the wire says around a schema that a service takes in no field of its own."""
AUTO_MAX_ROWS, SMALL_MAX_ROWS = 10, 5
"""Rows in one request, of any model and of a small one: measured over 16 models, whole answers are right for 78-100 %
at 10 rows, 52-100 % at 20, 17-100 % at 50."""
SMALL_MODEL = 10
"""Billions of parameters, as its name states them, up to which a model is a small one."""
_SIZE = re.compile(r"(?<![a-z0-9.])(\d+(?:\.\d+)?)b(?![a-z])")
TOKENS_PER_WORD = 2.2
"""Tokens that a word of an answer takes at most in languages that have words: German is at 1.9 (o200k_base)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a job leaves for one request.

    `input_tokens` is the most that all messages and the schema may hold by our own count: the window less the answer,
    less the margin for a tokenizer that is not the model's. `max_chunk_tokens` and `overlap_tokens` are the job's own
    wishes, None where it has none; `context_tokens` how much of what stands before a chunk is told with it. `models`
    are those of the routes, in order."""

    tokenizer: Tokenizer
    input_tokens: int
    max_output_tokens: int
    system: str = ""
    max_chunk_tokens: int | None = None
    overlap_tokens: int | None = None
    context_tokens: int = 0
    models: tuple[str, ...] = ()

    @property
    def auto_rows(self) -> int:
        """How many short rows may share a request where the job does not say: what the smallest model holds apart."""
        sizes = [[float(size) for size in _SIZE.findall(model.lower())] for model in self.models]
        return SMALL_MAX_ROWS if any(each and max(each) <= SMALL_MODEL for each in sizes) else AUTO_MAX_ROWS

    @property
    def answer_words(self) -> int:
        """Words that fit an answer in any language that has words, at least 1."""
        return max(1, int(self.max_output_tokens / TOKENS_PER_WORD))

    def overhead_tokens(self, messages: Sequence[Message], schema: str | None = None) -> int:
        """Tokens that stand around the source text: `messages` without it, frames, the schema."""
        told = self.tokenizer.count(schema) + SCHEMA_TOKENS if schema else 0
        return sum(self.tokenizer.count(m.content) for m in messages) + told + FRAME_TOKENS * (len(messages) + 2)

    def leave_room(self, messages: Sequence[Message]) -> None:
        """Raises JobError where `messages` leave no room for text. A text has no more tokens than bytes: only where
        those do not fit is anything counted, which takes a vocabulary."""
        most = sum(len(m.content.encode("utf-8", "replace")) for m in messages) + FRAME_TOKENS * (len(messages) + 2)
        if most >= self.input_tokens:
            self.chunk_tokens(self.overhead_tokens(messages))

    def chunk_tokens(self, overhead_tokens: int) -> int:
        """The budget for source text in one request. Raises JobError if the instructions leave no room."""
        room = self.input_tokens - overhead_tokens
        if room < 1:
            raise JobError(
                f"the instructions take {overhead_tokens} tokens and the model's window leaves {self.input_tokens}",
                hint="Shorten the instructions or the schema, lower model.max_output_tokens or take a larger model.",
            )
        return min(room, self.max_chunk_tokens) if self.max_chunk_tokens else room
