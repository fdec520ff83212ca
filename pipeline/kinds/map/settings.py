"""The `[map]` table."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from docreduce.settings import Positive, Table
from pydantic import Field, model_validator

__all__ = ["MapSettings"]


class MapSettings(Table):
    """kind = "map"."""

    prompt: str = Field(min_length=1, description="What to do with each document or row.")
    labels: list[str] | None = Field(None, min_length=2, description="A closed set: one of them is the answer.")
    schema_: str | dict[str, Any] | None = Field(
        None, alias="schema", description="JSON Schema of a typed answer, as `extract.schema`."
    )
    rows_per_request: Positive | Literal["auto"] = Field(1, description="Tables: pack short rows into one request.")
    max_repairs: Annotated[int, Field(ge=0, le=5)] = 2

    @model_validator(mode="after")
    def _one_form(self) -> MapSettings:
        if self.labels is not None and self.schema_ is not None:
            raise ValueError("labels or schema, not both")
        if self.labels is not None and len(set(self.labels)) < len(self.labels):
            raise ValueError("labels: the same label stands twice")
        return self
