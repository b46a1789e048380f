"""Small charts as inline SVG: lines over an axis, bars of a recall curve, one bar or dot with an interval."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from html import escape

COLORS = ("#0b6e99", "#d9730d", "#0f7b6c", "#ad1a72", "#6940a5", "#64473a", "#9b9a97")
"""One colour per run, told apart also by people who see red and green alike."""


@dataclasses.dataclass(frozen=True)
class Series:
    """One line of a chart: points (x, y) in the order of x; `is_dotted` for the lesser of two kinds."""

    name: str
    color: str
    points: Sequence[tuple[float, float]]
    is_dotted: bool = False


@dataclasses.dataclass(frozen=True)
class Whisker:
    """A value with the ends of its interval."""

    name: str
    value: float
    low: float
    high: float


def line_chart(
    series: Sequence[Series],
    x_label: str,
    y_label: str = "",
    y_range: tuple[float, float] | None = None,
    size: tuple[int, int] = (300, 190),
    markers: bool = False,
    is_log: bool = False,
) -> str:
    """Lines over a common axis; the y axis starts at 0 unless `y_range` says otherwise, or it is logarithmic.

    Args:
        series: at least one point in all; points that are not finite are left out.
        x_label, y_label: quantities with their units.
        y_range: lowest and highest y; None for 0 to the largest value.
        size: width, height px.
        markers: a dot at every point.
        is_log: logarithmic y axis, as far as the values reach; values that are not positive are left out.
    """
    if is_log:
        series = [dataclasses.replace(line, points=[(x, math.log10(y)) for x, y in line.points if y > 0])
                  for line in series]  # fmt: skip
    points = [(x, y) for line in series for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
    if not points:
        return ""
    values = [y for _, y in points]
    low, high = y_range or (
        (min(values), max(*values, min(values) + 0.01)) if is_log else (min(0.0, *values, 0.0), max(*values, 1e-9))
    )
    left, right = min(x for x, _ in points), max(x for x, _ in points)
    frame = _Frame(size, (left, right if right > left else left + 1), (low, high), is_log)
    parts = frame.axes(x_label, y_label)
    for line in series:
        shown = [frame.place(x, y) for x, y in line.points if math.isfinite(x) and math.isfinite(y)]
        dash = ' stroke-dasharray="2 3"' if line.is_dotted else ""
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in shown)
        parts.append(
            f'<polyline fill="none" stroke="{line.color}" stroke-width="1.8"{dash} points="{path}">'
            f"<title>{escape(line.name)}</title></polyline>"
        )
        if markers:
            parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.2" fill="{line.color}"/>' for x, y in shown]
    return f'<svg class="chart" viewBox="0 0 {size[0]} {size[1]}" role="img">{"".join(parts)}</svg>'


def curve_bars(values: Sequence[float], labels: Sequence[str], color: str, size: tuple[int, int] = (132, 38)) -> str:
    """One bar per threshold of a recall curve (values 0..1), on a ground that shows where 1 is."""
    width, height = size
    step = width / max(len(values), 1)
    bars = []
    for i, (value, label) in enumerate(zip(values, labels, strict=True)):
        tall = max(0.0, min(1.0, value)) * height
        at = f'x="{i * step + 1:.1f}" width="{step - 2:.1f}"'
        bars.append(
            f'<g><title>{escape(label)}: {value:.3f}</title><rect {at} y="0" height="{height}" class="ground"/>'
            f'<rect {at} y="{height - tall:.1f}" height="{tall:.1f}" fill="{color}"/></g>'
        )
    return f'<svg class="bars" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(bars)}</svg>'


def bar(
    value: float,
    color: str,
    interval: tuple[float, float] | None = None,
    width: int = 150,
    mark: tuple[float, str] | None = None,
) -> str:
    """A horizontal bar for a value 0..1, with a whisker for its interval and a mark (value, name) for another value."""
    height = 14
    parts = [
        f'<rect class="ground" width="{width}" height="{height}" rx="2"/>',
        f'<rect width="{width * max(0.0, min(1.0, value)):.1f}" height="{height}" rx="2" fill="{color}"/>',
    ]
    if interval is not None:
        low, high = (width * max(0.0, min(1.0, end)) for end in interval)
        parts.append(
            f'<path class="whisker" d="M{low:.1f},7H{high:.1f}M{low:.1f},3V11M{high:.1f},3V11">'
            f"<title>{interval[0]:.3f} to {interval[1]:.3f}</title></path>"
        )
    if mark is not None:
        x = width * max(0.0, min(1.0, mark[0]))
        parts.append(
            f'<path class="mark" d="M{x:.1f},0V{height}"><title>{escape(mark[1])}: {mark[0]:.3f}</title></path>'
        )
    return f'<svg class="bar" viewBox="0 0 {width} {height}" width="{width}" height="{height}">{"".join(parts)}</svg>'


def whisker_chart(rows: Sequence[Whisker], x_label: str, color: str, width: int = 460) -> str:
    """A dot with its interval per row over an axis that holds 0; hollow where the interval holds 0. "" without rows."""
    shown = [row for row in rows if all(map(math.isfinite, (row.value, row.low, row.high)))]
    if not shown:
        return ""
    low, high = min(0.0, *(row.low for row in shown), 0.0), max(0.0, *(row.high for row in shown), 0.0)
    margin = max(0.05 * (high - low), 0.005)
    low, high, left, right, step = low - margin, high + margin, 110, width - 60, 20

    def place(value: float) -> float:
        return left + (value - low) / (high - low) * (right - left)

    bottom = step * len(shown) + 6
    parts = []
    for tick in ticks(low, high, 8):
        style, x = ("zero" if tick == 0 else "grid"), place(tick)
        parts.append(f'<path class="{style}" d="M{x:.1f},0V{bottom}"/>')
        parts.append(f'<text class="tick" x="{x:.1f}" y="{bottom + 13}" text-anchor="middle">{tick:g}</text>')
    for i, row in enumerate(shown):
        y, ends = step * (i + 0.5) + 3, f"{row.value:+.3f} ({row.low:+.3f} to {row.high:+.3f})"
        fill = "#fff" if row.low <= 0 <= row.high else color
        parts.append(
            f"<g><title>{escape(row.name)}: {ends}</title>"
            f'<text class="axis" x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(row.name)}</text>'
            f'<path stroke="{color}" stroke-width="1.6" d="M{place(row.low):.1f},{y}H{place(row.high):.1f}"/>'
            f'<circle cx="{place(row.value):.1f}" cy="{y}" r="4" fill="{fill}" stroke="{color}" stroke-width="1.6"/>'
            f'<text class="axis" x="{right + 8}" y="{y + 4}">{row.value:+.3f}</text></g>'
        )
    middle, height = (left + right) / 2, bottom + 32
    parts.append(f'<text class="axis" x="{middle}" y="{bottom + 27}" text-anchor="middle">{escape(x_label)}</text>')
    return f'<svg class="chart" viewBox="0 0 {width} {height}" role="img">{"".join(parts)}</svg>'


class _Frame:
    """Maps values to the inside of a chart and draws its axes."""

    def __init__(
        self, size: tuple[int, int], x_range: tuple[float, float], y_range: tuple[float, float], is_log: bool = False
    ) -> None:
        self.x_ticks, self.y_ticks = ticks(*x_range), log_ticks(*y_range) if is_log else ticks(*y_range)
        self.x_range, self.is_log = x_range, is_log
        self.y_range = (min(y_range[0], self.y_ticks[0]), max(y_range[1], self.y_ticks[-1]))
        self.left, self.right, self.top, self.bottom = 38.0, size[0] - 12.0, 16.0, size[1] - 32.0

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Position in the picture of a value."""
        u = (x - self.x_range[0]) / (self.x_range[1] - self.x_range[0])
        v = (min(max(y, self.y_range[0]), self.y_range[1]) - self.y_range[0]) / (self.y_range[1] - self.y_range[0])
        return self.left + u * (self.right - self.left), self.bottom - v * (self.bottom - self.top)

    def axes(self, x_label: str, y_label: str) -> list[str]:
        """Grid lines, tick labels and the two quantities."""
        parts = []
        for value in self.y_ticks:
            _, y = self.place(self.x_range[0], value)
            parts.append(f'<path class="grid" d="M{self.left},{y:.1f}H{self.right}"/>')
            label = f"{10**value:.3g}" if self.is_log else f"{value:g}"
            parts.append(f'<text class="tick" x="{self.left - 5}" y="{y + 3.5:.1f}" text-anchor="end">{label}</text>')
        for value in self.x_ticks:
            x, _ = self.place(value, self.y_range[0])
            parts.append(
                f'<text class="tick" x="{x:.1f}" y="{self.bottom + 13}" text-anchor="middle">{_short(value)}</text>'
            )
        middle = (self.left + self.right) / 2
        parts.append(
            f'<text class="axis" x="{middle:.1f}" y="{self.bottom + 27}" text-anchor="middle">{escape(x_label)}</text>'
        )
        parts.append(f'<text class="axis" x="{self.left - 34}" y="9">{escape(y_label)}</text>')
        return parts


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """Round numbers in and around [low, high], about `count` of them, steps of 1, 2 or 5 times a power of ten."""
    span = max(high - low, 1e-12)
    raw = span / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if raw <= s * power * (1 + 1e-9))
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)] or [low]


def log_ticks(low: float, high: float) -> list[float]:
    """Ticks of a logarithmic axis over [low, high], both given as logarithms.

    Values 1, 2 or 5 times powers of ten that enclose it; evenly spaced round values inside if it is short.
    """
    if high - low < math.log10(5):
        inside = [math.log10(value) for value in ticks(10**low, 10**high) if value > 0]
        return [value for value in inside if low - 1e-9 <= value <= high + 1e-9] or [low]
    steps = [math.log10(f) + power for power in range(math.floor(low) - 1, math.ceil(high) + 1) for f in (1, 2, 5)]
    first = max(i for i, step in enumerate(steps) if step <= low + 1e-9)
    last = min((i for i, step in enumerate(steps) if step >= high - 1e-9), default=len(steps) - 1)
    around = steps[first : last + 1]
    return around if len(around) <= 8 else [step for step in around if abs(step - round(step)) < 1e-9]


def _short(value: float) -> str:
    return f"{value / 1000:g}k" if abs(value) >= 10_000 else f"{value:g}"
