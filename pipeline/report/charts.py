"""Charts as SVG, by leather, in the page's own colours."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from markupsafe import Markup

__all__ = ["bars", "columns", "line"]

WIDTH = 480
"""Of a chart's own units: what makes its words as large as the page's on a wide screen, and readable on a phone."""
_FONT = "system-ui, sans-serif"


@cache
def _leather() -> Any:
    """leather, told our colours: it knows them as words of its module only."""
    import leather
    from leather import theme

    theme.background_color = "none"
    theme.title_color = theme.label_color = theme.legend_color = theme.axis_title_color = "var(--quiet)"
    theme.tick_color, theme.zero_color = "var(--line)", "var(--quiet)"
    theme.default_series_colors = ["var(--accent)", "var(--warn)"]
    for name in ("title", "legend", "axis_title", "tick"):
        setattr(theme, f"{name}_font_family", _FONT)
    theme.tick_font_size = theme.axis_title_font_size = theme.legend_font_size = 13
    theme.tick_font_char_width = theme.axis_title_font_char_width = 7
    theme.margin = 0.03
    return leather


def line(points: Sequence[tuple[float, float]], *, x: str, y: str, label: str, limit: float | None = None) -> Markup:
    """A line through the points; `limit` a second one."""
    chart = _leather().Chart()
    chart.add_line(list(points), name="measured")
    top = max(value for _, value in points)
    if limit is not None and limit <= 3 * top:  # a limit far above would flatten what is to be seen
        chart.add_line([(points[0][0], limit), (points[-1][0], limit)], name="limit")
        top = max(top, limit)
    chart.set_y_scale(_leather().scales.Linear(0, _nice(top)))
    return _svg(chart, x, y, label)


def columns(counts: Sequence[tuple[str, float]], *, x: str, y: str, label: str) -> Markup:
    """A column a name."""
    chart = _leather().Chart()
    chart.add_columns(list(counts))
    chart.set_y_scale(_leather().scales.Linear(0, _nice(max(value for _, value in counts))))
    return _svg(chart, x, y, label)


def bars(amounts: Sequence[tuple[str, float]], *, x: str, label: str) -> Markup:
    """A bar a name, the first on top."""
    chart = _leather().Chart()
    chart.add_bars([(value, name) for name, value in amounts])
    chart.set_x_scale(_leather().scales.Linear(0, _nice(max(value for _, value in amounts))))
    return _svg(chart, x, "", label, height=80 + 34 * len(amounts))


def _nice(top: float) -> float:
    """The next number of one digit, or of 1, 1.5, 2, 2.5, 3, … digits: where an axis may end."""
    if top <= 0:
        return 1.0
    from math import floor, log10

    unit = 10.0 ** floor(log10(top))
    return next((step * unit for step in (1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10) if step * unit >= top), top)


def _svg(chart: Any, x: str, y: str, label: str, height: int = 230) -> Markup:
    """The chart for a page: it takes the width there is, and says to a screen reader what it shows."""
    from markupsafe import Markup, escape

    if x:
        chart.add_x_axis(name=x)
    if y:
        chart.add_y_axis(name=y)
    drawn = str(chart.to_svg(width=WIDTH, height=height))
    drawn = re.sub(r"^.*?<svg[^>]*>", "", drawn, count=1, flags=re.DOTALL)
    head = f'<svg viewBox="0 0 {WIDTH} {height}" role="img" aria-label="{escape(label)}" xmlns="http://www.w3.org/2000/svg">'
    # leather builds an element tree, which escapes its words.
    return Markup(head + drawn)  # noqa: S704
