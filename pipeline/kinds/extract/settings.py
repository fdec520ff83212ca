"""The `[extract]` table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from docreduce.settings import Positive, Table
from pydantic import Field, field_validator

__all__ = ["ExtractSettings"]


class ExtractSettings(Table):
    """kind = "extract"."""

    schema_: str | dict[str, Any] = Field(
        alias="schema", description="JSON Schema of one item: a file, inline, or `module:Model` (pydantic)."
    )
    instructions: str = ""
    examples: str | None = Field(None, description="JSON Lines of {text, items}, checked before anything is sent.")
    cardinality: Literal["one", "many"] = "one"
    key: list[str] = Field(default_factory=list, description="many: the fields that make two items the same.")
    conflict: Literal["majority", "first", "longest"] = "majority"
    rows_per_request: Positive | Literal["auto"] = Field(1, description="Tables: pack short rows into one request.")
    max_repairs: Annotated[int, Field(ge=0, le=5)] = 2
    split_fields: Positive | Literal["auto"] | None = Field(
        None, description="Wide schemas: groups of so many fields, each asked for by itself."
    )
    passes: Annotated[int, Field(ge=1, le=3)] = Field(
        1, description="Times a chunk is asked: again for what was missed."
    )
    vote: list[str] | None = Field(None, min_length=2, description="Models of the job's routes that are all asked.")
    gold: str | None = Field(None, description="JSON Lines of {document, items}: precision and recall are reported.")
    accept: float | None = Field(
        None, gt=0, lt=1, description="With gold: marks records whose values are right at least so often, surely."
    )

    @field_validator("vote")
    @classmethod
    def _different(cls, vote: list[str] | None) -> list[str] | None:
        if vote is not None and len(set(vote)) < len(vote):
            raise ValueError("a model is named twice")
        return vote
