"""What a case of the fault matrix found, as a test."""

from __future__ import annotations

from typing import Any

__all__ = ["check"]


def check(found: Any) -> None:
    assert not found.bad, found.notes
