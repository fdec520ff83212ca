"""A condition over what became of a run's documents: `ok >= 0.99`, `ok + partial >= 0.95 and failed <= 20`.

A number with a decimal point is a share of all documents, a whole number a count of them. Comparisons stand between
statuses, or sums of them, and a number; `and`, `or` and brackets join them. It is read by Python's own parser, and
nothing but what stands here is ever evaluated."""

from __future__ import annotations

import ast
import operator
from collections.abc import Mapping
from fractions import Fraction

__all__ = ["STATUSES", "holds", "parse_condition"]

STATUSES = ("ok", "partial", "failed", "skipped")
LONGEST = 500
"""Characters of a condition: no job needs more, and a parser is not to be worn out."""
_COMPARE = {
    ast.GtE: operator.ge,
    ast.Gt: operator.gt,
    ast.LtE: operator.le,
    ast.Lt: operator.lt,
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
}


def parse_condition(text: str) -> ast.expr:
    """The condition in `text`. Raises ValueError that says what is wrong with it."""
    try:
        if len(text) > LONGEST:
            raise ValueError(f"longer than {LONGEST} characters")
        parsed = ast.parse(text.strip(), mode="eval").body
        _check(parsed)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        wrong = "no condition" if isinstance(error, SyntaxError) else error
        example = f'expected one over {", ".join(STATUSES)}, such as "ok >= 0.99" or "failed <= 5 and skipped == 0"'
        raise ValueError(f"{text[:80]!r}: {wrong}; {example}") from error
    return parsed


def holds(condition: str, documents: Mapping[str, int]) -> bool:
    """Whether it holds for so many documents by status. A share of no documents at all is 0."""
    return _holds(parse_condition(condition), documents)


def _check(node: ast.expr) -> None:
    if isinstance(node, ast.BoolOp):
        for each in node.values:
            _check(each)
        return
    if not isinstance(node, ast.Compare) or len(node.ops) != 1 or type(node.ops[0]) not in _COMPARE:
        raise ValueError(f"{ast.unparse(node)} is no comparison")
    sides = (node.left, node.comparators[0])
    numbers = [side for side in sides if isinstance(side, ast.Constant)]
    if len(numbers) != 1:
        raise ValueError(f"{ast.unparse(node)} does not compare statuses with a number")
    value = numbers[0].value
    if not (isinstance(value, float) and 0 <= value <= 1) and not (type(value) is int and value >= 0):
        raise ValueError(f"{ast.unparse(numbers[0])} is neither a share from 0.0 to 1.0 nor a count")
    for side in sides:
        if side is not numbers[0]:
            _names(side)


def _names(node: ast.expr) -> list[str]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [*_names(node.left), *_names(node.right)]
    if isinstance(node, ast.Name) and node.id in STATUSES:
        return [node.id]
    raise ValueError(f"{ast.unparse(node)} is none of {', '.join(STATUSES)}")


def _holds(node: ast.expr, documents: Mapping[str, int]) -> bool:
    if isinstance(node, ast.BoolOp):
        joined = all if isinstance(node.op, ast.And) else any
        return joined(_holds(each, documents) for each in node.values)
    assert isinstance(node, ast.Compare)
    left, right = (_value(side, documents, node) for side in (node.left, node.comparators[0]))
    return bool(_COMPARE[type(node.ops[0])](left, right))


def _value(side: ast.expr, documents: Mapping[str, int], node: ast.Compare) -> Fraction:
    if isinstance(side, ast.Constant):
        return Fraction(str(side.value))
    share = any(isinstance(each, ast.Constant) and isinstance(each.value, float) for each in ast.walk(node))
    number = sum(documents.get(name, 0) for name in _names(side))
    total = sum(documents.get(name, 0) for name in STATUSES)
    return Fraction(number, max(1, total)) if share else Fraction(number)
