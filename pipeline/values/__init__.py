"""What travels between the rooms: frozen values, no behaviour beyond their own identity; money; errors."""

from docreduce.values.documents import Chunk, Document, Mark, Span
from docreduce.values.outcomes import Attempt, ChunkResult, Completion, Failure, Outcome, Result, Status, Steps
from docreduce.values.replies import (
    STOPPING,
    UNSENT,
    Answer,
    Billing,
    Cause,
    Decision,
    FinishReason,
    RateInfo,
    Rejection,
    Reply,
    Usage,
)
from docreduce.values.requests import CACHED_FROM_TOKENS, FRAME_TOKENS, Message, Request, Stage

__all__ = [
    "CACHED_FROM_TOKENS",
    "FRAME_TOKENS",
    "STOPPING",
    "UNSENT",
    "Answer",
    "Attempt",
    "Billing",
    "Cause",
    "Chunk",
    "ChunkResult",
    "Completion",
    "Decision",
    "Document",
    "Failure",
    "FinishReason",
    "Mark",
    "Message",
    "Outcome",
    "RateInfo",
    "Rejection",
    "Reply",
    "Request",
    "Result",
    "Span",
    "Stage",
    "Status",
    "Steps",
    "Usage",
]
