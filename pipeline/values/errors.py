"""The exception tree, by who is to blame.

DocreduceError
├── JobError         the job file or the command: exit 2, nothing was sent
├── DocumentError    one document: its row says so, the others go on
│   └── ChunkError   a budget that no text fits
├── RefusedError     key, credit, permission, model: exit 4, the run stops
└── MachineError     disk, rights, a foreign ledger: exit 5, nothing half-written is visible
"""

from __future__ import annotations

__all__ = ["ChunkError", "DocreduceError", "DocumentError", "JobError", "MachineError", "RefusedError"]


class DocreduceError(Exception):
    """Base of all. `kind` is a stable word for programs, `hint` says what to do about it."""

    kind = "error"
    exit_code = 1

    def __init__(self, message: str, *, hint: str = "", kind: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.kind = kind or self.kind


class JobError(DocreduceError):
    """The job file or the command line is wrong; nothing was sent."""

    kind = "job"
    exit_code = 2


class DocumentError(DocreduceError):
    """This document cannot be worked on. `kind`: empty, not_text, unreadable, encrypted, too_large, …"""

    kind = "unreadable"


class ChunkError(DocumentError):
    """The budget is too small to hold any piece of this text."""

    kind = "budget_too_small"


class RefusedError(DocreduceError):
    """The provider will answer no request of this run."""

    kind = "refused"
    exit_code = 4


class MachineError(DocreduceError):
    """This machine failed us: disk full, no right to write, a ledger that is not ours."""

    kind = "machine"
    exit_code = 5
