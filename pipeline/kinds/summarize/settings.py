"""The `[summarize]` table."""

from __future__ import annotations

from typing import Literal

from docreduce.settings import Positive, Table

__all__ = ["SummarizeSettings"]


class SummarizeSettings(Table):
    """kind = "summarize"."""

    instructions: str = ""
    max_words: Positive = 300
    strategy: Literal["tree", "refine"] = "tree"
