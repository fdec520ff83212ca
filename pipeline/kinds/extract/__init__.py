"""`kind = "extract"`: every chunk to items with evidence, the items of a document to its records.

Theory of operation. A document (or a row) passes through these states:

- *cut*: into chunks whose answer has room, by what the text leads to expect (expecting.py), not only by the window;
- *asked*: each chunk in a request whose schema lets every field be absent, since a chunk is a part of its document;
  once for each voice of a vote and each group of fields (lanes.py); what stands before it is told apart (context.py);
  short rows share a request, in frames with a nonce that stands in none of them;
- *continued*: an answer that breaks off keeps its whole items, and the text behind them is asked for (continuing.py);
- *read*: the answer is JSON of that schema, or it is asked again as a whole with what is wrong named: items that are
  valid by themselves are not taken out of an invalid answer, since nobody knows what else is wrong there;
- *placed*: each value's quote is looked up in its chunk: exactly, in another spelling, or not at all;
- *merged*: what the chunks found becomes one record or distinct items. Chunks overlap, so that what stands at a
  border is whole in one of them;
- *read again*: with `passes`, for what was missed, with what was found named, as long as that brings anything new.

A chunk that stays invalid, cut or unanswered makes its document partial; nothing that was found is dropped for it.
"""

from __future__ import annotations

from docreduce.kinds.extract.settings import ExtractSettings
from docreduce.kinds.kind import Plan, Work

__all__ = ["KIND", "ExtractKind"]


class ExtractKind:
    """The kind, as `kinds.kind.Kind`."""

    name = "extract"
    settings = ExtractSettings

    def prepare(self, settings: ExtractSettings, plan: Plan) -> Work:
        from docreduce.kinds.extract.work import prepare

        return prepare(settings, plan)


KIND = ExtractKind()
