"""Tables and the plot say what was found, and that it means nothing where it does not."""

import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest

from benchmarks.kernels._plot import as_svg
from benchmarks.kernels._result import NOT_TIMED, Absent, Outcome, Point, Result, Row
from benchmarks.kernels._rounds import Interval
from benchmarks.kernels._table import as_markdown, as_text

ROW = Row(
    operation="softmax",
    shape="8 × 9",
    contender="kernel",
    seconds=Interval(estimate=2e-6, low=1e-6, high=3e-6),
    rounds=7,
    bytes_per_s=4.2e12,
    flops_per_s=1.5e12,
    copy_share=0.875,
    roofline_share=0.5,
    kernel_speed=Interval(estimate=1.0, low=1.0, high=1.0),
    error=0.0,
)
POINT = Point(
    operation="softmax",
    shape="8 × 9",
    bytes_moved=8,
    flops=20,
    ceiling_bytes_per_s=4e12,
    ceiling_flops_per_s=7e14,
)
RESULT = Result(
    method="as it is",
    note="",
    rows=(ROW, replace(ROW, contender="a | b", flops_per_s=1e12)),
    points=(POINT, replace(POINT, shape="16 × 9 <&>", flops=8000)),
    outcomes=(Outcome(operation="o", shape="s", goal="fast", word="missed", metric="0.8"),),
    absent=(Absent(operation="o", shape="s", contender="SDPA", reason="no"),),
    broken=("it broke",),
)
SMOKE = replace(RESULT, note=NOT_TIMED)


def words(svg: str) -> list[str]:
    return [node.text or "" for node in ElementTree.fromstring(svg).iter() if "text" in node.tag]


def test_the_table_has_rows_goals_and_who_is_absent():
    text = as_text(RESULT)
    for part in ("2.0", "1.0 to 3.0", "4200", "1.50", "87.5%", "MISSED", "SDPA", "it broke"):
        assert part in text
    assert "NOTHING" not in text


def test_markdown_keeps_its_columns():
    lines = [line for line in as_markdown(RESULT).splitlines() if line.startswith("| softmax")]
    assert len({line.replace("\\|", "").count("|") for line in lines}) == 1


@pytest.mark.parametrize("render", [as_text, as_markdown, as_svg])
def test_every_page_says_when_times_mean_nothing(render):
    assert "mean nothing" in render(SMOKE).lower()
    assert "mean nothing" not in render(RESULT).lower()


def test_the_plot_has_full_and_hollow_points_a_roof_and_a_key():
    svg = as_svg(RESULT)
    circles = [n for n in ElementTree.fromstring(svg).iter() if n.tag.endswith("circle")]
    assert [node.get("fill") == "none" for node in circles] == [False, True]
    assert "1  softmax 8 × 9" in words(svg)
    assert "2  softmax 16 × 9 <&>" in words(svg)
    assert "copy 4000 GB/s, product 700.0 TFLOP/s" in words(svg)
    assert all(
        float(node.get("cx") or 0) > 0 and float(node.get("cy") or 0) > 0 for node in circles
    )


def test_a_point_lies_under_the_roof_by_its_share():
    """At the copy's bandwidth a point lies on the roof's slope."""
    on = replace(ROW, flops_per_s=4e12 * 20 / 8)
    svg = as_svg(replace(RESULT, rows=(on,), points=(POINT,)))
    tree = list(ElementTree.fromstring(svg).iter())
    (circle,) = (node for node in tree if node.tag.endswith("circle"))
    slope = next(node for node in tree if node.get("stroke") == "black")
    x1, y1, x2, y2 = (float(slope.get(name) or 0) for name in ("x1", "y1", "x2", "y2"))
    x, y = float(circle.get("cx") or 0), float(circle.get("cy") or 0)
    assert y == pytest.approx(y1 + (x - x1) * (y2 - y1) / (x2 - x1), abs=0.5)


def test_nothing_to_show_is_a_sheet_that_says_so():
    assert "nothing to show" in as_svg(Result(method="m", note=""))
    no_work = replace(RESULT, points=(replace(POINT, flops=0),))
    assert "nothing to show" in as_svg(no_work)
