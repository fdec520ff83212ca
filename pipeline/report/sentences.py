"""What is said of a run in words, on the terminal and in its report alike."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from docreduce.engine.bounds import BOUND_NAMES
from docreduce.values.money import money, pusd

__all__ = [
    "acceptance",
    "accepted",
    "against_estimate",
    "held_back",
    "reasons",
    "since_last",
    "sufficient_cap",
    "verdict",
]

_ENDED = {
    "complete": "Complete",
    "budget": "Stopped at the cap",
    "deadline": "Stopped at the deadline",
    "refused": "Stopped: the service refused",
    "interrupted": "Interrupted",
    "waiting": "Waiting for batches",
}
FAR = 0.25
"""A cost that is further from its estimate than this share of it is given reasons: two equal runs of a noisy service
differ by up to 12 % at the 90th percentile."""


def verdict(manifest: Mapping[str, Any]) -> str:
    """One sentence: how the run ended and what became of the documents."""
    counts = manifest["counts"]
    ended = _ENDED.get(manifest["status"], str(manifest["status"]).capitalize())
    total, ok = counts["documents"], counts["ok"]
    if total and ok == total:
        return f"{ended}: {'the document is' if total == 1 else f'all {total:,} documents are'} ok."
    rest = [f"{counts[name]:,} {name}" for name in ("partial", "failed", "skipped") if counts[name]]
    return f"{ended}: {ok:,} of {total:,} documents ok" + (f", {', '.join(rest)}." if rest else ".")


def accepted(accepting: Mapping[str, Any]) -> str:
    """How many records of a run are accepted, and what that promises."""
    share, confidence = f"{100 * accepting['at_least']:g} %", f"{100 * accepting['confidence']:g} %"
    said = f"{accepting['accepted']:,} of {accepting['records']:,} records accepted"
    return f"{said}: all their values are right in {share} of cases at least (at {confidence} confidence)"


def acceptance(record: Mapping[str, Any]) -> str:
    """Whether a record is accepted, and why."""
    if record["grounding"] is None:
        return "not accepted: it has no value"
    said = "accepted" if record["accepted"] else "not accepted"
    if not record["at_least"]:
        return f"{said}: by the labelled documents nothing is sure of records grounded so ({record['grounding']})"
    sure = f"records grounded so ({record['grounding']}) are right in {100 * record['at_least']:.1f} % of cases"
    return f"{said}: {sure} at least, extract.accept wants {100 * record['of']:g} %"


def held_back(manifest: Mapping[str, Any]) -> str:
    """The three things that the run waited for longest, each with its seconds; empty where it waited for nothing."""
    waits = list(manifest.get("bounded_by", {}).items())[:3]
    return ", ".join(f"{BOUND_NAMES.get(name, name)} {seconds:,.0f} s" for name, seconds in waits if seconds >= 1)


def since_last(manifest: Mapping[str, Any]) -> str:
    """What became of the input since the last complete run; empty where there is none."""
    changes = manifest.get("changes") or {}
    if not changes.get("since"):
        return ""
    words = (("new", "new"), ("changed", "changed"), ("same", "as before"))
    parts = [f"{changes[name]:,} {word}" for name, word in words if changes[name]]
    if gone := (changes["gone"] or {}).get("count"):  # nobody knows where not all was read
        parts.append(f"{gone:,} gone")
    return ", ".join(parts)


def sufficient_cap(manifest: Mapping[str, Any]) -> str:
    """Of a run that its cap stopped the smallest one under which it very probably completes; empty for another run, and
    where not all of the input was read."""
    estimate, halted = manifest.get("estimate"), manifest.get("halted") or {}
    if manifest["status"] != "budget" or not estimate or halted.get("unread"):
        return ""
    cost = manifest["cost"]
    before = cost.get("carried_usd", 0.0) + cost.get("carried_unknown_usd", 0.0)
    return money(pusd(estimate["smallest_cap_usd"] + before))


def against_estimate(manifest: Mapping[str, Any]) -> str | None:
    """How the cost stands to what was expected; None where nothing was expected, or the run ended before it cost
    anything."""
    estimate, difference = manifest.get("estimate"), manifest.get("difference")
    if not estimate or not difference or difference.get("cost_usd") is None:
        return None
    if manifest["status"] != "complete" and not manifest["actual"]["cost_usd"]:
        return None
    cost = estimate["cost_usd"]
    apart, actual = difference["cost_usd"], manifest["actual"]["cost_usd"]
    low, expected, high = (money(pusd(cost[name])) for name in ("low", "expected", "high"))
    if abs(apart) < 0.005:
        return f"as estimated ({expected})"
    nearer = f"{_percent(abs(apart))} {'more' if apart > 0 else 'less'} than"
    share = f"{apart + 1:.1f} times" if apart > 1 else nearer
    within = "within" if cost["low"] <= actual <= cost["high"] else "above" if actual > cost["high"] else "below"
    return f"{share} the {expected} estimated, {within} its range ({low} to {high})"


def reasons(manifest: Mapping[str, Any]) -> Iterator[str]:
    """What could make a cost so far from its estimate, from the run's own numbers; nothing where it is near."""
    estimate, difference = manifest.get("estimate"), manifest.get("difference")
    apart = (difference or {}).get("cost_usd")
    if not estimate or apart is None or abs(apart) <= FAR:
        return
    if manifest["status"] != "complete":
        yield "the run was stopped before its end"
        return
    for key, words in _MOVED.items():
        share = difference.get(key) if difference else None
        if share is not None and abs(share) > FAR and (share > 0) == (apart > 0):
            yield f"{words[share > 0]} than expected ({_percent(abs(share))})"
    yield from _dearer(manifest) if apart > 0 else _cheaper(manifest)
    if not estimate["basis"].get("answers_seen"):
        yield "nothing was known of this model's answers yet: the next estimate learns from this run"


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


_MOVED = {
    "output_tokens": ("answers were shorter", "answers were longer"),
    "input_tokens": ("less was sent", "more was sent"),
    "calls": ("there were fewer calls", "there were more calls"),
}


def _cheaper(manifest: Mapping[str, Any]) -> Iterator[str]:
    usage, counts, unknown = manifest["usage"], manifest["counts"], manifest["cost"]["unknown_usd"]
    if cached := usage.get("cached_input_tokens"):
        yield f"{_percent(cached / max(usage['input_tokens'], 1))} of the input was read from the service's cache"
    if counts["reused_calls"]:
        yield f"{counts['reused_calls']:,} answers were there already"
    if missing := counts["failed"] + counts["skipped"]:
        yield "a document was not done" if missing == 1 else f"{missing:,} documents were not done"
    if unknown:
        yield f"up to {money(pusd(unknown))} more may have been charged"


def _dearer(manifest: Mapping[str, Any]) -> Iterator[str]:
    usage, counts = manifest["usage"], manifest["counts"]
    if usage.get("reasoning_tokens"):
        yield f"{usage['reasoning_tokens']:,} tokens of the answers were reasoning"
    if counts["failed_attempts"]:
        yield f"{counts['failed_attempts']:,} attempts failed, and some of them were charged"
