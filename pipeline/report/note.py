"""An estimate as one page that somebody signs: Markdown, which every mail and wiki shows."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from docreduce.values.money import money, pusd

__all__ = ["note_of"]


def note_of(estimate: Mapping[str, Any], job: Mapping[str, Any]) -> str:
    """The page: what is done with how many documents, what it is expected to cost, and above what it very probably does
    not come, the smallest cap, what could make it dearer, by which prices. `job`: name, kind, model, paths."""
    cost, calls, basis = estimate["cost_usd"], estimate["calls"], estimate["basis"]
    rows = [
        ("Expected", _usd(cost["expected"])),
        ("Very probably between", f"{_usd(cost['low'])} and {_usd(cost['high'])}"),
        ("No run passes, if nothing has to be asked twice", _usd(cost["ceiling"])),
        ("Smallest cap under which it completes", f"{_usd(estimate['smallest_cap_usd'])} (budget.max_cost_usd)"),
        ("Calls", f"{calls['expected']:,} ({calls['low']:,} to {calls['high']:,})"),
        *(
            (title, f"{estimate[key]['expected']:,} ({estimate[key]['low']:,} to {estimate[key]['high']:,})")
            for title, key in (("Tokens in", "input_tokens"), ("Tokens out", "output_tokens"))
        ),
        ("Time", f"about {_duration(estimate['duration_s']['expected'])}"),
    ]
    documents = f"{estimate['documents']:,} documents, {estimate['chunks']:,} chunks"
    left_out = [
        f"{estimate[key]:,} {words}"
        for key, words in (("unreadable", "cannot be read"), ("empty", "are empty"))
        if estimate[key]
    ]
    lines = [
        f"# {job['name']}: what it will cost",
        "",
        f"{job['kind']} over {documents}" + (f" ({', '.join(left_out)})" if left_out else "") + ", "
        f"from {', '.join(f'`{path}`' for path in job['paths'])}, by {job['model']}.",
        "",
        "| | |",
        "|---|---|",
        *(f"| {name} | {value} |" for name, value in rows),
        "",
        "## What this rests on",
        "",
        *(f"- {each}" for each in _grounds(estimate, basis)),
        "",
        "## What could make it dearer",
        "",
        *(f"- {each}" for each in _risks(estimate, basis)),
        "",
        "## Prices",
        "",
        f"By {_prices(estimate['pricing'])}. Stated on {datetime.now(UTC):%Y-%m-%d}.",
    ]
    if others := estimate["other_prices"]:
        lines += ["", "The service also states:", ""]
        lines += [f"- {_prices(each['pricing'])}: {_usd(each['cost_usd'])}" for each in others]
    lines += ["", "Approved up to: ______________ USD    Date: ______________    Name: ______________", ""]
    return "\n".join(lines)


def _grounds(estimate: Mapping[str, Any], basis: Mapping[str, Any]) -> list[str]:
    counted = {
        "exact": "the model's own tokenizer",
        "learned": f"our tokenizer, corrected by what {basis['answers_seen']:,} answers of this model took",
        "prior": "our tokenizer and what is known of models of its kind",
    }[basis["tokenizer"]]
    if estimate["counted_requests"]:
        counted += f", and {estimate['counted_requests']} requests that the service counted itself"
    lengths = "earlier answers" if basis["output"] == "learned" else "the words asked for: no answer was seen yet"
    grounds = [f"Tokens are counted by {counted}.", f"The length of answers is expected from {lengths}."]
    if estimate["reused_calls"]:
        grounds.append(f"{estimate['reused_calls']:,} calls are answered already and cost nothing.")
    return grounds


def _risks(estimate: Mapping[str, Any], basis: Mapping[str, Any]) -> list[str]:
    risks = ["Documents that are added or changed before the run.", "A change of the service's prices."]
    if basis["output"] != "learned":
        risks.append("Answers longer than usual: `--sample 3` pays for three documents and narrows this.")
    if basis["tokenizer"] == "prior":
        risks.append("A tokenizer that makes more of this kind of text than most: `--exact` asks the service.")
    risks.append("Answers that break off or are invalid, and are asked for again; calls charged though they failed.")
    if estimate["unreadable"]:
        risks.append(f"{estimate['unreadable']:,} documents that cannot be read now, if they can be then.")
    return risks


def _prices(pricing: Mapping[str, Any]) -> str:
    stated = ", ".join(
        f"{name.replace('_', ' ')} {value:g}"
        for name, value in pricing.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    )
    return f"{pricing['source']}, {pricing['mode'].replace('_', ' ')}" + (f" ({stated})" if stated else "")


def _usd(amount: float) -> str:
    return money(pusd(amount))


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} seconds"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.1f} hours"
