"""Pages that open from disk, without a network and without a script they need: a run's report, a document to read.

Every value in them is text to the template (autoescape); markup is made in two places alone: the charts, of our own
numbers, and the document's text in `_passages`, escaped piece by piece."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from docreduce.report.failures import by_reason
from docreduce.report.folder import read_manifest
from docreduce.report.pages import sheets
from docreduce.report.sentences import acceptance, accepted
from docreduce.report.terminal import dollars
from docreduce.storage import is_address, machine_errors, publish, replacing
from docreduce.values.errors import JobError

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

__all__ = ["write_html", "write_reading", "write_report"]

VIEWS = 50
"""Documents up to which an index comes with all of their views; beyond, they are made when they are asked for."""
QUOTED = 240
"""Characters of a quote beside its value, at most: all of it is a click away."""
# Controls, and what sets the direction of text: shown, never obeyed. Line ends of all kinds are left to the page.
_CONTROLS = re.compile(
    "[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069\ufeff\ud800-\udfff]"
)


_SCRIPT = """document.addEventListener("click", function (event) {
  var link = event.target.closest("a[href^='#w-'], a[href^='#b-']");
  if (!link) return;
  var number = link.hash.slice(3);
  document.querySelectorAll(".body a[data-e], .paper a[data-e]").forEach(function (each) {
    each.classList.toggle("on", each.dataset.e.split(" ").indexOf(number) >= 0);
  });
});"""
"""Marks all parts of a passage that others cross; without it the first part is marked, by the address alone."""


def write_html(run_dir: Path) -> Path:
    """report.html beside the results of a run. Raises JobError where there is no run, MachineError for the disk."""
    from docreduce.report.facts import facts

    manifest = read_manifest(run_dir)
    return _write(run_dir / "report.html", _page("report", **facts(run_dir, manifest)))


def write_report(manifest: Mapping[str, Any], path: str) -> list[str]:
    """report.html beside the results of a run that has ended, also where they were uploaded (`path`, as output.path has
    it): all its places. Raises MachineError where a disk or the store refuses it; the results stand without it."""
    run_dir = Path(manifest["run_dir"])
    places = [str(write_html(run_dir))]
    # what the store has just refused waits for the next run, the report with it
    if is_address(path) and all(lost["format"] != path for lost in manifest.get("dropped", ())):
        publish(run_dir.parent, path)
        places.append(f"{path.rstrip('/')}/{run_dir.parent.name}/{run_dir.name}/report.html")
    return places


def write_reading(run_dir: Path, name: str | None, to: Path | None = None) -> Path:
    """The reading view of the document `name`, or without one an index over the documents; where it is: `to`, or
    RUN_DIR/reading/. Raises JobError for a document that is not there."""
    from docreduce.report.reading import index, reading

    folder = run_dir / "reading"
    if name is not None:
        found = reading(run_dir, name)
        file = folder / _file_name(found["document"]["document_id"]) if to is None else to
        return _write(file, _view(run_dir, found, indexed=to is None and (folder / "index.html").exists()))
    if to is not None:
        raise JobError("--to wants a DOCUMENT: an index leads to views beside it")
    listed = index(run_dir)
    rows = [*listed["groups"], *listed["documents"]]
    if listed["total"] + len(listed["groups"]) <= VIEWS:
        for row in rows:
            path = folder / _file_name(row["document_id"])
            _write(path, _view(run_dir, reading(run_dir, row["document_id"]), indexed=True))
    for row in rows:
        view = _file_name(row["document_id"])
        row["file"] = view if (folder / view).exists() else None
    return _write(folder / "index.html", _page("index", **listed, run_dir=run_dir))


def visible(text: object) -> str:
    """Text with its control and direction characters shown as what they are."""
    return _CONTROLS.sub(lambda found: f"\\u{ord(found[0]):04x}", str(text))


def _view(run_dir: Path, found: Mapping[str, Any], *, indexed: bool) -> str:
    from markupsafe import Markup

    items = found["items"]
    if found["sentences"]:
        items = [{"item": None, "status": None, "values": found["sentences"], "title": "sentences"}, *items]
    unsupported = sum(each["status"] == "unsupported" for each in found["sentences"])
    evidence = [each for item in items for value in item["values"] for each in value["evidence"]]
    text = found["source"]["text"]
    return _page(
        "reading",
        **{**found, "items": items},
        indexed=indexed,
        unsupported=unsupported,
        sheets=sheets(run_dir, found["document"], text, evidence),
        script=Markup(_SCRIPT),  # noqa: S704 - our own words, the only script a page may run
        script_sha256=base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode(),
        passages=None if text is None else _passages(text, found["chunks"], evidence),
    )


def _passages(text: str, chunks: Sequence[Mapping[str, Any]], evidence: Sequence[Mapping[str, Any]]) -> Markup:
    """The text as markup: each chunk begins with its name, and what evidence covers leads back to its values.

    Passages may overlap: the text is cut wherever one begins or ends."""
    from markupsafe import Markup, escape

    placed = [each for each in evidence if each["char_start"] is not None and each["char_start"] < each["char_end"]]
    starts: dict[int, list[str]] = {}
    for chunk in chunks:
        label = f"chunk {chunk['chunk']}" + (f" · {visible(chunk['heading'])[:80]}" if chunk["heading"] else "")
        page = f" · page {chunk['page_start']}" if chunk["page_start"] else ""
        mark = Markup('<span class="chunk" id="chunk-{}">{}</span>').format(chunk["chunk"], label + page)
        starts.setdefault(chunk["char_start"], []).append(mark)
    begun: dict[int, list[int]] = {}
    ended: dict[int, set[int]] = {}
    losers = {each["number"] for each in placed if not each["chosen"]}
    for each in placed:
        begun.setdefault(each["char_start"], []).append(each["number"])
        ended.setdefault(each["char_end"], set()).add(each["number"])
    cuts = sorted({0, len(text), *starts, *begun, *ended})
    parts: list[str] = []
    covering: list[int] = []
    for at, end in zip(cuts, [*cuts[1:], len(text)], strict=True):
        covering = [number for number in covering if number not in ended.get(at, ())]
        parts += starts.get(at, ())
        covering += begun.get(at, ())
        anchors = [Markup('<span class="anchor" id="w-{}"></span>').format(number) for number in begun.get(at, ())]
        piece = Markup("").join([*anchors, escape(visible(text[at:end]))])
        if covering and at < end:
            numbers = " ".join(map(str, covering))
            kind = "loser" if all(number in losers for number in covering) else "words"
            piece = Markup('<a class="{}" data-e="{}" href="#v-{}">{}</a>').format(kind, numbers, covering[-1], piece)
        parts.append(piece)
    return Markup("").join(parts)


def _file_name(document_id: str) -> str:
    if re.fullmatch(r"[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,99}", document_id) and document_id != "index":
        return f"{document_id}.html"
    return f"_{hashlib.sha256(document_id.encode()).hexdigest()[:32]}.html"


def _page(template: str, **values: Any) -> str:
    return _environment().get_template(f"{template}.html.j2").render(values)


@cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    loader = PackageLoader("docreduce.report", "")
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    filters: dict[str, Any] = {
        "usd": dollars,
        "n": lambda number: f"{number:,}",
        "percent": lambda share: "–" if share is None else f"{100 * share:.1f} %",
        "visible": visible,
        "shortened": lambda text: text if len(text) <= QUOTED else f"{text[: QUOTED - 1].rstrip()}…",
        "lines": _lines,
        "code": _code,
        "by_reason": by_reason,
        "accepted": accepted,
        "acceptance": acceptance,
    }
    environment.filters |= filters
    return environment


def _code(text: str) -> Markup:
    """Our own words with what stands between backticks as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))  # noqa: S704 - escaped before


def _lines(text: str) -> Iterator[str]:
    yield from (line for line in visible(text).splitlines() if line.strip())


def _write(path: Path, page: str) -> Path:
    """The page, whole or not at all, readable by its owner only."""
    with machine_errors(path):
        path.parent.mkdir(mode=0o700, exist_ok=True)
    with replacing(path) as beside:
        beside.write_text(page, encoding="utf-8", errors="backslashreplace")
    return path
