"""Charts are well-formed and put values where they belong."""

import math
import re
import xml.etree.ElementTree as ET

import pytest

from pose_models.report.charts import Series, Whisker, bar, curve_bars, line_chart, log_ticks, ticks, whisker_chart


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


def test_bar_marks_another_value():
    root = ET.fromstring(bar(0.25, "#123456", (0.2, 0.4), 100, (0.5, "at best")))
    mark = next(e for e in root if e.get("class") == "mark")
    assert mark.get("d").startswith("M50.0,")
    assert mark[0].text == "at best: 0.500"


def test_whiskers_stand_on_one_axis_that_holds_zero():
    rows = [Whisker("AR", 0.2, 0.1, 0.3), Whisker("object <1>", -0.1, -0.25, 0.05), Whisker("absent", math.nan, 0, 0)]
    root = ET.fromstring(whisker_chart(rows, "b minus a", "#123456"))
    zero = float(next(e for e in root if e.get("class") == "zero").get("d")[1:].split(",")[0])
    first, second = ([float(e.get(key)) for e in root.iter("circle")] for key in ("cx", "cy"))
    assert len(first) == 2
    assert first[1] < zero < first[0]
    assert first[0] - zero == pytest.approx(2 * (zero - first[1]), abs=0.2)
    assert second[0] < second[1]
    ends = [[float(x) for x in e.get("d")[1:].replace(",", "H").split("H")[::2]] for e in root.iter("path")
            if e.get("stroke")]  # fmt: skip
    assert zero < ends[0][0] < first[0] < ends[0][1]
    assert ends[1][0] < first[1] < zero < ends[1][1]


def test_dots_are_hollow_where_the_interval_holds_zero():
    rows = [Whisker("sure", 0.2, 0.1, 0.3), Whisker("unsure", 0.1, -0.1, 0.3), Whisker("same", 0, 0, 0)]
    fills = [e.get("fill") for e in ET.fromstring(whisker_chart(rows, "", "#123456")).iter("circle")]
    assert fills == ["#123456", "#fff", "#fff"]
    assert whisker_chart([], "", "#123456") == ""


def test_a_logarithmic_axis_has_equal_steps_for_equal_factors():
    svg = line_chart([Series("a", "#000", [(0, 0.02), (1, 0.2), (2, 2.0), (3, 0.0)])], "x", is_log=True)
    (_, y0), (_, y1), (_, y2) = _points(svg)  # 0 has no place
    assert y0 - y1 == pytest.approx(y1 - y2, abs=0.11)
    assert y0 > y2
    labels = re.findall(r'text-anchor="end">([^<]+)<', svg)
    assert labels == ["0.02", "0.05", "0.1", "0.2", "0.5", "1", "2"]
    wide = line_chart([Series("a", "#000", [(0, 1e-4), (1, 10.0)])], "x", is_log=True)
    assert re.findall(r'text-anchor="end">([^<]+)<', wide) == ["0.0001", "0.001", "0.01", "0.1", "1", "10"]
    flat = line_chart([Series("a", "#000", [(0, 1.0), (1, 1.0)])], "x", is_log=True)
    assert "nan" not in flat


@pytest.mark.parametrize(("low", "high", "values"), [
    (0.013, 0.019, [0.014, 0.016, 0.018]), (0.03, 0.4, [0.02, 0.05, 0.1, 0.2, 0.5]), (5.0, 5.0, [5]),
    (0.9, 1100.0, [1, 10, 100, 1000]),
])  # fmt: skip
def test_logarithmic_ticks_are_round(low, high, values):
    assert [10**tick for tick in log_ticks(math.log10(low), math.log10(high))] == pytest.approx(values)
