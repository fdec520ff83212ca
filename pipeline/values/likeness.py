"""What somebody may have meant: the word, or the name of a file, that is nearest to one that is not there."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["did_you_mean", "nearest", "path_meant"]

LOOKED_AT = 10_000
"""Names that are compared, at most: a folder may hold millions."""


def nearest(word: str, words: Iterable[str]) -> str | None:
    """The one of `words` that is most like `word`, whatever its case; None where none is."""
    known = {each.casefold(): each for _, each in zip(range(LOOKED_AT), words, strict=False)}
    found = difflib.get_close_matches(word.casefold(), known, 1)
    return known[found[0]] if found else None


def did_you_mean(word: str, words: Iterable[str]) -> str:
    """A question that names the nearest of `words`; "" where none is near."""
    found = nearest(word, words)
    return f"Did you mean {found!r}?" if found else ""


def path_meant(path: str) -> str:
    """A question that names what is there and is most like a path that is not; "" where nothing is. Of a path whose
    folders are missing, too, the first missing part is looked for."""
    place = Path(path)
    missing = next((each for each in reversed((place, *place.parents)) if not each.exists()), None)
    try:
        names = [] if missing is None else [each.name for each in missing.parent.iterdir()]
    except OSError:  # a folder that cannot be listed tells nothing
        return ""
    found = None if missing is None else nearest(missing.name, names)
    if missing is None or found is None:
        return ""
    return f"Did you mean {str(missing.with_name(found) / place.relative_to(missing))!r}?"
