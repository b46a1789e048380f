"""Charts are well-formed and put values where they belong."""

import math
import xml.etree.ElementTree as ET

import pytest

from pose_models.report.charts import Series, bar, curve_bars, line_chart, ticks


def _points(svg: str) -> list[tuple[float, float]]:
    line = next(e for e in ET.fromstring(svg).iter() if e.tag == "polyline")
    return [tuple(map(float, pair.split(","))) for pair in line.get("points").split()]


def test_line_goes_up_where_values_rise():
    svg = line_chart([Series("run <a>", "#000", [(0, 0), (1, 0.5), (2, 1)])], "x & y", "recall", (0, 1))
    points = _points(svg)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert points[0][1] > points[1][1] > points[2][1]
    assert points[1][1] == pytest.approx((points[0][1] + points[2][1]) / 2, abs=0.1)


def test_values_outside_the_range_stay_in_the_frame():
    inside = _points(line_chart([Series("a", "#000", [(0, -5), (1, 7)])], "x", y_range=(0, 1)))
    assert 0 < inside[1][1] < inside[0][1] < 190


def test_values_that_are_not_finite_are_left_out():
    points = _points(line_chart([Series("a", "#000", [(0, 1), (1, math.nan), (2, 2)])], "x"))
    assert len(points) == 2
    assert line_chart([Series("a", "#000", [(0, math.nan)])], "x") == ""


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [(0, 1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (0.05, 0.5, [0.1, 0.2, 0.3, 0.4, 0.5]), (0, 6000, [0, 2000, 4000, 6000]),
     (3, 3, [3])],
)  # fmt: skip
def test_ticks_are_round(low, high, expected):
    assert ticks(low, high) == pytest.approx(expected)


def test_bar_is_as_long_as_its_value_and_shows_its_interval():
    root = ET.fromstring(bar(0.25, "#123456", (0.2, 0.4), width=100))
    filled = next(e for e in root if e.get("fill") == "#123456")
    assert float(filled.get("width")) == 25
    assert "M20.0,7H40.0" in next(e for e in root if e.get("class") == "whisker").get("d")


def test_curve_has_one_bar_per_threshold():
    root = ET.fromstring(curve_bars([0.0, 0.5, 1.0], ["a", "b", "c"], "#123456", (60, 40)))
    heights = [float(e.get("height")) for e in root.iter("rect") if e.get("fill") == "#123456"]
    assert heights == [0, 20, 40]
