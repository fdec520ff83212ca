"""What people read on a terminal of results: failures, differences, the bill, what is wrong, what goes, a document."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from docreduce.report.failures import by_reason
from docreduce.report.sentences import acceptance
from docreduce.report.terminal import dollars, plain
from docreduce.values.money import money
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

__all__ = [
    "print_bill",
    "print_check",
    "print_diff",
    "print_failures",
    "print_index",
    "print_pruned",
    "print_reading",
]

SHOWN = 20
"""Lines of a list, at most; how many more there are is said."""
SHORT = 60
"""Characters of two values that stand in one line."""


def print_failures(found: Mapping[str, Any], console: Console) -> None:
    """What failed, counted by kind with its remedy, then document by document."""
    if not found["total"]:
        console.print("every document is ok")
        return
    for each in by_reason(found["kinds"]):
        console.print(f"{each['numbers']}: {each['reason']}")
        console.print(Padding(each["remedy"], (0, 0, 0, 4), expand=False))
    console.print()
    for row in found["failures"]:
        console.print(Text(f"{row['status']:<8}").append_text(plain(row["document"])))
        console.print(Padding(plain(row["error"] or row["error_kind"] or "no reason"), (0, 0, 0, 8), expand=False))
    _more(found["total"] - len(found["failures"]), "--limit N shows more of them", console)


def print_diff(found: Mapping[str, Any], console: Console) -> None:
    """What changed, and what each run cost."""
    console.print(f"{found['before']} → {found['after']}" + ("" if found["same_job"] else " (the job is another)"))
    one, other = found["documents"]
    paid = " → ".join(dollars(amount) for amount in found["charged_usd"])
    console.print(f"documents {one:,} → {other:,}, charged {paid}")
    for name in ("new", "gone", "changed"):
        if found[name]:
            console.print(f"{len(found[name]):,} {name}")
            for each in found[name][:SHOWN]:
                console.print(Padding(plain(each), (0, 0, 0, 2), expand=False))
            _more(len(found[name]) - SHOWN, "--json names all", console)
    for named, changes in groupby(found["changes"][:SHOWN], _changed):
        console.print(plain(named))
        for change in changes:
            _print_change(change, console)
    _more(len(found["changes"]) - SHOWN, "--json names all", console)
    if not any(found[name] for name in ("new", "gone", "changed", "changes")):
        console.print("nothing changed")


def _changed(change: Mapping[str, Any]) -> str:
    item = f" item {change['item']}" if change.get("item") is not None else ""
    return f"{change['document']}{item}"


def _print_change(change: Mapping[str, Any], console: Console) -> None:
    """A change in a line; of long values each in a line of its own."""
    what = change["what"].replace("_", " ") if change["what"] in ("error_kind", "summary", "status") else change["what"]
    if "before" not in change:
        console.print(Padding(plain(what), (0, 0, 0, 2), expand=False))
        return
    before, after = (_short(change[sign]) for sign in ("before", "after"))
    if len(before) + len(after) <= SHORT:
        console.print(Padding(plain(f"{what}: {before} → {after}"), (0, 0, 0, 2), expand=False))
        return
    console.print(Padding(plain(what), (0, 0, 0, 2), expand=False))
    for sign, value in (("before", before), ("after", after)):
        console.print(Padding(plain(f"{sign:<7}{value}"), (0, 0, 0, 4), expand=False))


def print_bill(found: Mapping[str, Any], console: Console) -> None:
    """A line a group and the total; what was saved only where something was."""
    saved = [name for name, amount in found["total"]["saved_usd"].items() if amount]
    table = Table(box=None, pad_edge=False, header_style="bold", show_footer=True)
    total = found["total"]
    table.add_column(found["by"], footer="total", overflow="fold")
    for name, footer in (
        ("attempts", f"{total['attempts']:,}"),
        ("charged", money(total["charged_pusd"])),
        ("unknown, at most", money(total["unknown_pusd"])),
        *((f"saved by {name}", dollars(total["saved_usd"][name])) for name in saved),
    ):
        table.add_column(name, footer=footer, justify="right")
    for group in found["groups"]:
        amounts = [money(group["charged_pusd"]), money(group["unknown_pusd"])]
        less = (dollars(group["saved_usd"][name]) for name in saved)
        table.add_row(plain(group[found["by"]]), f"{group['attempts']:,}", *amounts, *less)
    console.print(table)


def print_check(found: Mapping[str, Any], console: Console) -> None:
    """What is wrong, then what else there is to know."""
    console.print(f"{found['ledgers']:,} ledgers, {found['runs']:,} runs: {found['wrong'] or 'nothing'} wrong")
    for each in found["findings"]:
        console.print(Text("WRONG  " if each["wrong"] else "note   ").append_text(plain(each["place"])))
        console.print(Padding(plain(each["message"]), (0, 0, 0, 7), expand=False))
        if each["remedy"]:
            console.print(Padding(plain(each["remedy"]), (0, 0, 0, 7), expand=False))


def print_pruned(found: Mapping[str, Any], console: Console) -> None:
    """What went, or would."""
    verb = "would be removed" if found["dry_run"] else "removed"
    if "document_id" in found:
        console.print(
            plain(
                f"{found['document_id']}: rows in {len(found['files']):,} files and {found['answers']:,} answers {verb}"
            )
        )
        console.print(f"{found['attempts']:,} attempts stay in the sums, under no name")
        return
    console.print(f"{len(found['runs']):,} runs ({found['bytes']:,} bytes) and {found['answers']:,} answers {verb}")
    for run in found["runs"]:
        console.print(plain(f"  {run['job']} {run['run_id']}"))
    console.print(f"{found['kept_runs']:,} runs stay")


def print_index(found: Mapping[str, Any], console: Console) -> None:
    """A line a document; before them one a group of [reduce]."""
    if found["groups"]:
        groups = Table(box=None, pad_edge=False, header_style="bold")
        for name in ("group", "status", "documents", ""):
            groups.add_column(name, overflow="fold", justify="right" if name == "documents" else "left")
        for row in found["groups"]:
            shown = plain(row["document_id"]), row["status"], f"{row['documents']:,}", plain(_short(row["gist"]))
            groups.add_row(*shown)
        console.print(groups)
        console.print()
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "status", "document", ""):
        table.add_column(name, overflow="fold")
    for row in found["documents"]:
        table.add_row(plain(row["document_id"]), row["status"], plain(row["document"]), plain(_short(row["gist"])))
    console.print(table)
    _more(found["total"] - len(found["documents"]), "a word of its name finds a document", console)


def print_reading(found: Mapping[str, Any], console: Console) -> None:
    """A document: what became of it, its summary or its values with the words they rest on."""
    document = found["document"]
    of = "" if document["documents"] is None else f", of {document['documents']:,} documents"
    console.print(plain(f"{document['document']}{of} ({document['document_id']}): {document['status']}"))
    if document["error"]:
        console.print(plain(f"  {document['error_kind']}: {document['error']}"))
    if found["source"]["fault"]:
        console.print(plain(f"  {found['source']['fault']}"))
    if document["summary"]:
        console.print(Padding(plain(document["summary"]), (1, 2), expand=False))
    if lacking := [each["value"] for each in found["sentences"] if each["status"] == "unsupported"]:
        console.print(f"{len(lacking):,} of its sentences rest on nothing that was found in the text:")
        for sentence in lacking:
            console.print(Padding(plain(sentence), (0, 0, 0, 4), expand=False))
    for item in found["items"]:
        if len(found["items"]) > 1:
            console.print(f"item {item['item']}")
        if "acceptance" in item:
            console.print(plain(acceptance(item["acceptance"])))
        _print_values(item["values"], console)


def _print_values(values: Sequence[Mapping[str, Any]], console: Console) -> None:
    for value in values:
        console.print(Text(f"{value['field']}: ", style="bold").append_text(plain(value["value"] or "–")))
        for each in value["evidence"]:
            where = "" if each["char_start"] is None else f" [{each['char_start']:,}–{each['char_end']:,}]"
            page = f" page {each['page']}" if each["page"] else ""
            loser = "" if each["chosen"] else f" (not chosen: {each['value']})"
            words = f"“{_short(each['quote'])}”{where}{page} {_found(each['alignment'])}{loser}"
            console.print(Padding(plain(words), (0, 0, 0, 4), expand=False))


def _found(alignment: str) -> str:
    return "not in the text" if alignment == "none" else alignment


def _short(value: object, most: int = 200) -> str:
    text = "–" if value is None else " ".join(str(value).split())
    return text if len(text) <= most else f"{text[:most]}…"


def _more(number: int, how: str, console: Console) -> None:
    if number > 0:
        console.print(f"… and {number:,} more: {how}")
