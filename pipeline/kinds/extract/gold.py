"""What is known of some documents, and how right the records are by it: precision and recall by field, and by the class
of grounding how often a value is right.

Compared are values, field by field, as the merge compares them (letter case and white space aside). A field with
several values (lists, several items) is a bag of them: each gold value answers for one value of ours.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from docreduce.kinds.extract.accepting import Share as Documents
from docreduce.kinds.extract.accepting import acceptance, exact_lower_bound, grounding, rounded_down
from docreduce.kinds.extract.merge import Merged
from docreduce.kinds.extract.names import normalize
from docreduce.kinds.extract.paths import empty, fields_of, leaves, parse_path
from docreduce.kinds.extract.schema import Extraction
from docreduce.kinds.extract.validation import schema_errors
from docreduce.values import Document
from docreduce.values.errors import JobError

__all__ = ["Gold", "groundings", "quality", "read_gold", "shares"]

Values: TypeAlias = Mapping[str, Counter[Hashable]]

_NONE = "none"
"""The class of a value without evidence."""
_RIGHT, _WRONG, _MISSED = "right", "wrong", "missed"
_SOUND, _UNSOUND = "sound", "unsound"
"""Documents in which all values of a class are right, and others."""


@dataclass(frozen=True, slots=True)
class Gold:
    """The values by field of each document that is labelled, by its id, uri or file name."""

    documents: Mapping[str, Values]

    def compared(self, document: Document, merged: Merged) -> dict[str, int]:
        """Counts of the document: "gold/FIELD/right", …/wrong, …/missed, and "grounding/CLASS/right", …/wrong, and once
        for the document …/sound or …/unsound; empty where it is not labelled."""
        names = (document.id, document.uri, PurePosixPath(document.uri).name)
        gold = next((self.documents[name] for name in names if name in self.documents), None)
        if gold is None:
            return {}
        counts: Counter[str] = Counter(gold_documents=1)
        left = {field: Counter(values) for field, values in gold.items()}
        classes = _classes(merged)
        sound: dict[str, bool] = {}
        for at, record in enumerate(merged.records):
            for path, value in leaves(record):
                if empty(value):
                    continue
                field, same = ".".join(fields_of(path)), normalize(value)
                right = left.get(field, Counter())[same] > 0
                if right:
                    left[field][same] -= 1
                counts[f"gold/{field}/{_RIGHT if right else _WRONG}"] += 1
                name = classes.get((at, path), _NONE)
                counts[f"grounding/{name}/{_RIGHT if right else _WRONG}"] += 1
                sound[name] = sound.get(name, True) and right
        for name, all_right in sound.items():
            counts[f"grounding/{name}/{_SOUND if all_right else _UNSOUND}"] = 1
        for field, values in left.items():
            if missed := sum(values.values()):
                counts[f"gold/{field}/{_MISSED}"] += missed
        return dict(counts)


def read_gold(path: Path, extraction: Extraction) -> Gold:
    """The labels in `path`: JSON Lines of {"document": id, uri or file name, "items": [item, …]}.

    Raises JobError with the line for what is not of that form, not valid by the schema, or labelled twice."""
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise JobError(f"{path}: extract.gold: cannot be read: {error}") from error
    documents: dict[str, Values] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        where = f"{path}:{number}: extract.gold"
        try:
            label = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise JobError(f"{where}: not JSON: {error}") from error
        if not isinstance(label, dict) or not isinstance(label.get("document"), str) or "items" not in label:
            raise JobError(f'{where}: expected an object {{"document": "…", "items": […]}}')
        wrong = schema_errors({"items": label["items"]}, extraction.schema)
        if wrong:
            raise JobError(f"{where}: {'; '.join(wrong)[:800]}")
        if label["document"] in documents:
            raise JobError(f"{where}: {label['document']!r} is labelled already")
        documents[label["document"]] = _values(label["items"])
    if not documents:
        raise JobError(f"{path}: extract.gold: there is no label in it")
    return Gold(documents)


def groundings(merged: Merged) -> list[str | None]:
    """Of each record, the classes that its values are of; None where it has no value."""
    classes = _classes(merged)
    return [
        grounding(classes.get((at, path), _NONE) for path, value in leaves(record) if not empty(value))
        for at, record in enumerate(merged.records)
    ]


def shares(counts: Mapping[str, int]) -> dict[str, Documents]:
    """By class of grounding, the labelled documents all of whose values of that class are right, and those with any."""
    seen = _sorted_out(counts)["grounding"]
    return {name: (each[_SOUND], each[_SOUND] + each[_UNSOUND]) for name, each in sorted(seen.items())}


def quality(counts: Mapping[str, int], accept: float | None = None) -> dict[str, Any]:
    """Of the sums of all documents' counts: `documents` that are labelled, `fields` with precision and recall (None of
    nothing), and `grounding`: by class how many values there are and the share that is right, how many documents they
    are in and in how many all are right, and `at_least`: the share of documents in which all are, at 95 % (Clopper and
    Pearson 1934, one-sided). With `accept`, what is accepted at that, and why."""
    by = _sorted_out(counts)
    fields = {
        field: {
            "precision": _share(seen[_RIGHT], seen[_RIGHT] + seen[_WRONG]),
            "recall": _share(seen[_RIGHT], seen[_RIGHT] + seen[_MISSED]),
            **{verdict: seen[verdict] for verdict in (_RIGHT, _WRONG, _MISSED)},
        }
        for field, seen in by["gold"].items()
    }
    calibration = {
        name: {
            "values": (values := seen[_RIGHT] + seen[_WRONG]),
            "right": _share(seen[_RIGHT], values),
            "documents": (documents := seen[_SOUND] + seen[_UNSOUND]),
            "at_least": rounded_down(exact_lower_bound(seen[_SOUND], documents)),
            "documents_right": seen[_SOUND],
        }
        for name, seen in sorted(by["grounding"].items())
    }
    told = {"documents": counts.get("gold_documents", 0), "fields": fields, "grounding": calibration}
    return told if accept is None else {**told, "accept": acceptance(accept, shares(counts), counts).as_dict()}


def _sorted_out(counts: Mapping[str, int]) -> dict[str, dict[str, Counter[str]]]:
    by: dict[str, dict[str, Counter[str]]] = {"gold": defaultdict(Counter), "grounding": defaultdict(Counter)}
    for name, number in counts.items():
        head, _, rest = name.partition("/")
        which, _, verdict = rest.rpartition("/")
        if head in by and which:
            by[head][which][verdict] += number
    return by


def _share(part: int, whole: int) -> float | None:
    return round(part / whole, 4) if whole else None


def _values(items: Sequence[Mapping[str, Any]]) -> Values:
    values: dict[str, Counter[Hashable]] = defaultdict(Counter)
    for item in items:
        for path, value in leaves({name: part for name, part in item.items() if name != "evidence"}):
            if not empty(value):
                values[".".join(fields_of(path))][normalize(value)] += 1
    return dict(values)


def _classes(merged: Merged) -> dict[tuple[int, tuple[str | int, ...]], str]:
    """By item and path, how its chosen value is grounded: alignment, whether the quote holds it, conflict."""
    classes: dict[tuple[int, tuple[str | int, ...]], str] = {}
    for row in merged.evidence:
        if row["chosen"]:
            words = row["alignment"]
            if row["value_in_quote"] is False:
                words += ", not in quote"
            if row["ambiguous"]:
                words += ", ambiguous"
            if row["conflict"]:
                words += ", conflict"
            key = row["item"], parse_path(row["field"])
            classes[key] = min(classes.get(key, words), words, key=len)
    return classes
