"""Text of pictures through tesseract, a program of its own, where the job asks for it; in a child process."""

from __future__ import annotations

import functools
import os
import resource
import shutil
import subprocess
from typing import Any

from docreduce.values.errors import DocumentError

__all__ = ["available", "recognized", "recognized_page"]

_HINT = "Install tesseract with the languages you need: `apt-get install tesseract-ocr tesseract-ocr-deu` or the like."
_DPI = 300
"""What tesseract's models were trained for."""
_MAX_PIXELS = 40_000_000
"""An A3 page at 300 dpi has 17 million, the largest page a PDF can state 3.6 billion."""
_PAGE_S = 120
"""CPU seconds for a picture; an A4 page at 300 dpi took 4 to 10."""
_MAX_LANGUAGES = 6
"""Each one costs as much time as the first; with more installed than that, English alone is tried."""


def available() -> bool:
    """Whether there is a tesseract."""
    return shutil.which("tesseract") is not None


def recognized(picture: bytes) -> str:
    """The words in a picture file (PNG, JPEG, TIFF, PNM), its pages apart by a form feed, turned upright where need be.

    Raises DocumentError for a missing program, a picture that is none, and one that takes too long."""
    if not available():
        raise DocumentError("OCR needs tesseract, which is not installed", kind="no_text", hint=_HINT)
    command = ["tesseract", "stdin", "stdout", "-l", _languages(), "--psm", "1", "--dpi", str(_DPI)]
    done = subprocess.run(  # noqa: S603
        command,
        input=picture,
        capture_output=True,
        check=False,
        env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        preexec_fn=_limit_time,
    )
    if done.returncode:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        late = "took too long" if done.returncode < 0 else "cannot be read"
        raise DocumentError(f"the picture {late}: {said[-1][:200] if said else 'no word why'}")
    return done.stdout.decode("utf-8", "replace").strip("\f\n ")


def recognized_page(page: Any) -> str:
    """The words on a page of a PDF as it is drawn."""
    width, height = page.get_size()
    scale = min(_DPI / 72, (_MAX_PIXELS / max(width * height, 1.0)) ** 0.5)
    bitmap = page.render(scale=scale, grayscale=True)
    rows, columns, stride = bitmap.height, bitmap.width, bitmap.stride
    pixels = bytes(bitmap.buffer)
    lines = (pixels[row * stride : row * stride + columns] for row in range(rows))
    return recognized(f"P5 {columns} {rows} 255\n".encode() + b"".join(lines))


@functools.cache
def _languages() -> str:
    listed = subprocess.run(["tesseract", "--list-langs"], capture_output=True, check=False, text=True)  # noqa: S607
    found = sorted(set(listed.stdout.split("\n")[1:]) - {"osd", "equ", ""})
    return "+".join(found) if 0 < len(found) <= _MAX_LANGUAGES else "eng"


def _limit_time() -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (_PAGE_S, _PAGE_S))
