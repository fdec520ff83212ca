"""The `[extract]` table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from docreduce.settings import Positive, Table
from pydantic import Field

__all__ = ["ExtractSettings"]


class ExtractSettings(Table):
    """kind = "extract"."""

    schema_: str | dict[str, Any] = Field(alias="schema", description="JSON Schema of one item: a file, or inline.")
    instructions: str = ""
    examples: str | None = Field(None, description="JSON Lines of {text, items}, checked before anything is sent.")
    cardinality: Literal["one", "many"] = "one"
    key: list[str] = Field(default_factory=list, description="many: the fields that make two items the same.")
    conflict: Literal["majority", "first", "longest"] = "majority"
    rows_per_request: Positive | Literal["auto"] = Field(1, description="Tables: pack short rows into one request.")
    max_repairs: Annotated[int, Field(ge=0, le=5)] = 2
