"""What every kind needs to know of the model and of the room a request has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from docreduce.text.tokens import Tokenizer
from docreduce.values import Message, Request, Stage
from docreduce.values.errors import JobError

__all__ = ["FRAME_TOKENS", "ModelPlan", "StructuredOutput"]

StructuredOutput = Literal["tools", "json_schema", "json_object", "prompt"]

FRAME_TOKENS = 10
"""Tokens a message's role and delimiters cost; about what ERNIE 4.5's and OpenAI's chat frames take."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelPlan:
    """The model, the settings of every request to it, and the room a request has.

    `input_tokens` is the most that all messages and the schema of one request may hold by our own count:
    the window less the output reserve, less the margin for a tokenizer that is not the model's."""

    provider: str
    model: str
    tokenizer: Tokenizer
    input_tokens: int
    max_output_tokens: int
    temperature: float
    top_p: float
    system: str = ""
    max_chunk_tokens: int | None = None
    overlap_tokens: int = 0
    structured_output: tuple[StructuredOutput, ...] = ("prompt",)  # the best first; the rest are steps down

    def overhead_tokens(self, messages: Sequence[Message], schema: str | None = None) -> int:
        """Tokens that stand around the source text: `messages` without it, frames, the schema."""
        texts = [message.content for message in messages] + ([schema] if schema else [])
        return sum(self.tokenizer.count(text) for text in texts) + FRAME_TOKENS * (len(messages) + 2)

    def chunk_tokens(self, overhead_tokens: int) -> int:
        """The budget for source text in one request. Raises JobError if the instructions leave no room."""
        room = self.input_tokens - overhead_tokens
        if room < 1:
            raise JobError(
                f"the instructions take {overhead_tokens} tokens and the model's window leaves {self.input_tokens}",
                hint="Shorten the instructions or the schema, lower model.max_output_tokens or take a larger model.",
            )
        return min(room, self.max_chunk_tokens) if self.max_chunk_tokens else room

    def request(  # noqa: PLR0913
        self,
        messages: Sequence[Message],
        *,
        stage: Stage,
        input_tokens: int,
        chunk: int | None = None,
        schema: str | None = None,
        structured_output: StructuredOutput | None = None,
        max_words: int | None = None,
        salt: str = "",
        documents: tuple[int, ...] = (0,),
    ) -> Request:
        """A request to this model. `input_tokens`: our count of all it holds."""
        return Request(
            provider=self.provider,
            model=self.model,
            messages=tuple(messages),
            max_output_tokens=self.max_output_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            schema=schema,
            structured_output=structured_output,
            max_words=max_words,
            salt=salt,
            stage=stage,
            chunk=chunk,
            input_tokens=input_tokens,
            documents=documents,
        )
