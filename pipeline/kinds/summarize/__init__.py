"""`kind = "summarize"`: every chunk to a summary, the summaries to one."""

from __future__ import annotations

from docreduce.kinds.kind import Plan, Work
from docreduce.kinds.summarize.settings import SummarizeSettings

__all__ = ["KIND", "SummarizeKind"]


class SummarizeKind:
    """The kind, as `kinds.kind.Kind`."""

    name = "summarize"
    settings = SummarizeSettings

    def prepare(self, settings: SummarizeSettings, plan: Plan) -> Work:
        from docreduce.kinds.summarize.steps import prepare

        return prepare(settings, plan)


KIND = SummarizeKind()
