"""What lies over a PDF's page: the values of its form, and its notes."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

__all__ = ["Field", "fields_of"]

_BUTTON, _RADIO, _CHECKBOX, _SIGNATURE = 1, 3, 2, 7  # FPDF_FORMFIELD_*
_LINK, _POPUP, _WIDGET, _FREE_TEXT = 2, 16, 20, 3  # FPDF_ANNOT_*
_HIDDEN = 2 | 32  # hidden, not shown on screen: PDF 32000-1, table 165
_PASSWORD = 1 << 13


@dataclass(frozen=True, slots=True)
class Field:
    """What a form's field or a note says, and where: left, bottom, right and top in points."""

    text: str
    box: tuple[float, float, float, float]
    is_box: bool = False  # it stands before its label


def fields_of(page: Any, forms: Any) -> Iterator[Field]:
    """The values of a page's form and its notes."""
    import pypdfium2.raw as pdfium

    for index in range(pdfium.FPDFPage_GetAnnotCount(page)):
        annotation = pdfium.FPDFPage_GetAnnot(page, index)
        if not annotation:
            continue
        try:
            kind, rect = pdfium.FPDFAnnot_GetSubtype(annotation), pdfium.FS_RECTF()
            if kind in (_LINK, _POPUP) or pdfium.FPDFAnnot_GetFlags(annotation) & _HIDDEN:
                continue
            if not pdfium.FPDFAnnot_GetRect(annotation, rect):
                continue
            box = (rect.left, min(rect.bottom, rect.top), rect.right, max(rect.bottom, rect.top))
            if kind == _WIDGET:
                yield from _widget(annotation, forms, box)
                continue
            words = _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"Contents").strip()
            if words:
                yield Field(words if kind == _FREE_TEXT else f"[note: {words}]", box)
        finally:
            pdfium.FPDFPage_CloseAnnot(annotation)


def _widget(annotation: Any, forms: Any, box: tuple[float, float, float, float]) -> Iterator[Field]:
    import pypdfium2.raw as pdfium

    kind = pdfium.FPDFAnnot_GetFormFieldType(forms, annotation) if forms else 0
    if kind in (_CHECKBOX, _RADIO):
        ticked = bool(pdfium.FPDFAnnot_IsChecked(forms, annotation)) or _is_on(annotation)
        signs = ("[ ]", "[x]") if kind == _CHECKBOX else ("( )", "(x)")
        yield Field(signs[ticked], box, is_box=True)
    elif kind not in (0, _BUTTON, _SIGNATURE) and not pdfium.FPDFAnnot_GetFormFieldFlags(forms, annotation) & _PASSWORD:
        value = _string(pdfium.FPDFAnnot_GetFormFieldValue, forms, annotation).strip()
        if value:
            yield Field(value, box)


def _is_on(annotation: Any) -> bool:
    """Whether a box's own state is another than Off, for one that pdfium does not know how to draw."""
    import pypdfium2.raw as pdfium

    return _string(pdfium.FPDFAnnot_GetStringValue, annotation, b"AS") not in ("", "Off")


def _string(function: Any, *given: Any) -> str:
    """What a function of pdfium writes into a buffer of UTF-16."""
    length = function(*given, None, 0)
    if length <= 2:
        return ""
    buffer = ctypes.create_string_buffer(length)
    import pypdfium2.raw as pdfium

    function(*given, ctypes.cast(buffer, ctypes.POINTER(pdfium.FPDF_WCHAR)), length)
    return buffer.raw[: length - 2].decode("utf-16-le", "replace").replace("\r\n", "\n").replace("\r", "\n")
