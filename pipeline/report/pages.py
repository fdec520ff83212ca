"""The pages of a PDF in the reading view: their pictures, and the boxes of the words that values rest on."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from docreduce.readers import Page, content_of, evidence_pages
from docreduce.report.folder import plain_id, read_manifest, source_of
from docreduce.settings import InputSettings
from docreduce.values.errors import DocreduceError

__all__ = ["Sheets", "sheets"]

_BEFORE = 400
"""Characters of the text before a passage: which of equal words on a page are meant."""
_LABEL = 120


@dataclass(frozen=True)
class Sheets:
    """The pages with their boxes, the numbers of the evidence that has one, and in words what is not shown."""

    pages: Sequence[Mapping[str, Any]] = ()
    placed: frozenset[int] = frozenset()
    said: str = ""

    @property
    def numbers(self) -> set[int]:
        """Of the pages that are shown."""
        return {page["number"] for page in self.pages}


def sheets(
    run_dir: Path, document: Mapping[str, Any], text: str | None, evidence: Sequence[Mapping[str, Any]]
) -> Sheets:
    """The pages of a document that its evidence stands on; none where it is no PDF, or is not what it was in the run
    (`text` is None then). Nothing is raised: its text is there to read, and `said` has the reason."""
    if text is None or document.get("media_type") != "application/pdf" or document["row"] is not None:
        return Sheets()
    asked = [each for each in evidence if each["page"] and each["char_start"] is not None]
    words = [text[each["char_start"] : each["char_end"]] for each in asked]
    before = [text[max(each["char_start"] - _BEFORE, 0) : each["char_start"]] for each in asked]
    quotes = list(zip((each["page"] for each in asked), words, before, strict=True))
    try:
        stated = read_manifest(run_dir).get("input") or {}
        place = str(document["uri"])
        source = source_of(place)
        settings = InputSettings.model_validate({**stated, "paths": [source]})
        raw = content_of(source, settings, place, plain_id(document["document_id"])) if quotes else b""
        found = evidence_pages(raw, settings, quotes) if quotes else []
    except (DocreduceError, ValueError) as error:
        return Sheets(said=f"Its pages cannot be shown: {error}. Its text stands below.")
    shown = [page for page in found if page.png]
    placed = frozenset(asked[spot.quote]["number"] for page in shown for spot in page.spots)
    numbered: set[int] = set()
    pages = [_page(page, asked, words, numbered) for page in shown]
    return Sheets(pages, placed, _said(found, [each["page"] for each in asked], len(placed)))


def _said(found: Sequence[Page], numbers: Sequence[int], placed: int) -> str:
    """What of the passages on pages with these `numbers` is not shown, and why."""
    without = {page.number for page in found if not page.png}
    said = f"{len(without):,} more pages bear evidence and are not shown, to keep this page small. " if without else ""
    away = sum(number in without for number in numbers)
    if unseen := len(numbers) - placed - away:
        passages = "1 passage has" if unseen == 1 else f"{unseen:,} of {len(numbers):,} passages have"
        said += f"{passages} no box: the words are in a picture, or drawn in another order. "
    return said + ("What has no box leads to the text." if said else "")


def _page(page: Page, asked: Sequence[Mapping[str, Any]], words: Sequence[str], numbered: set[int]) -> dict[str, Any]:
    """A page for the template. Evidence that shares a place shares a box; large boxes lie under small ones."""
    by_place: dict[tuple[float, ...], list[int]] = {}
    for spot in page.spots:
        by_place.setdefault((spot.left, spot.top, spot.width, spot.height), []).append(spot.quote)
    boxes = []
    for (left, top, width, height), quotes in sorted(by_place.items(), key=lambda item: -item[0][2] * item[0][3]):
        numbers = [asked[quote]["number"] for quote in quotes]
        anchors = [number for number in numbers if number not in numbered]
        numbered.update(anchors)
        place = {name: f"{at:.3f}" for name, at in zip(_PLACE, (left, top, width, height), strict=True)}
        loser = not any(asked[quote]["chosen"] for quote in quotes)
        label = _label(asked[quotes[-1]], words[quotes[-1]])
        boxes.append({**place, "numbers": numbers, "anchors": anchors, "label": label, "loser": loser})
    assert page.png is not None  # those without are not shown
    png = base64.b64encode(page.png).decode()
    return {"number": page.number, "png": png, "width": page.width, "height": page.height, "boxes": boxes}


_PLACE = ("left", "top", "width", "height")


def _label(row: Mapping[str, Any], words: str) -> str:
    named: Iterable[str] = filter(None, (row.get("field"), _short(words)))
    return f"{': '.join(named)} – back to the value"


def _short(words: str) -> str:
    plain = " ".join(words.split())
    return plain if len(plain) <= _LABEL else f"{plain[:_LABEL]}…"
