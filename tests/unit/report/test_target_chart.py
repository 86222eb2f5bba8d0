import math
from dataclasses import replace

import mistune
import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.report.axis import MAX_TICKS, make_axis
from grader.report.class_index import make_index, render_class_index
from grader.report.messages import IN_PART_TEXT
from grader.report.notebook import render_feedback_html
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import StudentView, make_view
from grader.report.target_chart import Strip, TargetChart, draw_target
from tests.unit.report import samples, target_samples
from tests.unit.report.planting import Page, plant
from tests.unit.report.test_report import HOSTILE, SAFE_TAGS

DRAWN = {"svg", "g", "line", "rect", "circle", "path", "text", "title", "desc"}
CHART_TAGS = DRAWN | {"figure", "figcaption"}


@pytest.fixture(scope="module")
def view() -> StudentView:
    return make_view(target_samples.make_target_record())


def _charts(view: StudentView) -> dict[str, TargetChart]:
    checks = [check for problem in view.problems for check in problem.checks]
    return {c.title.removeprefix("The target "): c.charts[0] for c in checks if c.charts}


def _strips(view: StudentView) -> list[Strip]:
    return [strip for chart in _charts(view).values() for strip in chart.strips]


def test_a_ratio_has_bars_and_a_strip_and_growth_lines_and_two_strips(view: StudentView) -> None:
    charts = _charts(view)
    shapes = {name: (len(c.bars), len(c.growth), len(c.strips)) for name, c in charts.items()}
    assert shapes["slow"] == shapes["memory"] == shapes["traffic"] == (2, 0, 1)
    assert shapes["growth"] == shapes["quadratic"] == (0, 1, 2)
    assert not {"implausible", "no_device", "blocked"} & set(shapes)
    assert [bar.name for bar in charts["traffic"].bars] == ["yours", "theory"]


def test_every_mark_lies_on_its_strip(view: StudentView) -> None:
    for strip in _strips(view):
        positions = [
            *(dot.x for lane in strip.lanes for dot in lane.dots),
            *(x for lane in strip.lanes for x in (lane.low, lane.estimate, lane.high)),
            *(tick.at for tick in strip.ticks),
            *(tier.x for tier in strip.tiers),
        ]
        assert all(0 <= x <= 100 for x in positions)
        assert all(lane.low <= lane.estimate <= lane.high for lane in strip.lanes)
        assert strip.full_to <= strip.pass_to
        assert 2 <= len(strip.ticks) <= MAX_TICKS


def test_the_text_of_a_strip_says_what_its_marks_say(view: StudentView) -> None:
    (strip,) = _charts(view)["slow"].strips
    assert strip.text.startswith("Processor time: 3.1")
    assert "passes up to 1.70, full points up to 1.15" in strip.text
    assert "4 forks from 3." in strip.text
    assert "Wall-clock time" in strip.text
    assert "no points depend on it" in strip.text


def test_equal_tiers_are_one_mark(view: StudentView) -> None:
    largest = _charts(view)["growth"].strips[1]
    assert [tier.text for tier in largest.tiers] == ["passes up to 10.0"]
    partly = _charts(view)["partly"].strips[0]
    assert [tier.text for tier in partly.tiers] == [
        "full points up to 1.15",
        "half the points up to 1.70",
    ]


def test_an_interval_without_ends_is_cut_at_the_edge() -> None:
    metric = (
        make_view(target_samples.make_target_record()).problems[0].checks[3].target[0].finding[0]
    )
    endless = tuple(replace(f, low=-math.inf, high=math.inf) for f in metric.metrics)
    lane = draw_target(replace(metric, metrics=endless)).strips[0].lanes[0]
    assert (lane.low, lane.high, lane.cut_low, lane.cut_high) == (0.0, 100.0, True, True)


def test_names_of_near_lines_are_apart(view: StudentView) -> None:
    (growth,) = _charts(view)["growth"].growth
    assert abs(growth.series[0].label_y - growth.series[1].label_y) >= 15


FINITE = st.floats(min_value=1e-6, max_value=1e9)


@given(st.lists(FINITE, min_size=1, max_size=8), st.booleans(), st.lists(st.floats(0, math.inf)))
def test_any_axis_holds_what_is_wanted(
    wanted: list[float], is_log: bool, bounds: list[float]
) -> None:
    axis = make_axis(wanted, is_log=is_log, bounds=bounds)
    positions = [axis.position(value) for value in wanted]
    assert not any(axis.cuts(value) for value in wanted)
    assert all(0 < position < 100 for position in positions)
    assert sorted(wanted) == [value for _, value in sorted(zip(positions, wanted, strict=True))]
    ticks = axis.ticks(str)
    assert len(ticks) <= MAX_TICKS
    assert all(0 <= tick.at <= 100 for tick in ticks)


def test_the_page_has_a_title_and_a_text_for_every_chart(view: StudentView) -> None:
    page = Page(render_report_html(view))
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    named = [name for value in page.values("aria-labelledby") for name in value.split()]
    assert set(named) <= set(identifiers)
    assert len([n for n in named if n.endswith("-text")]) == len(_strips(view)) + 3
    assert page.scripts == page.values("style") == page.values("src") == []
    assert page.tags >= CHART_TAGS


def test_the_page_says_the_result_of_every_target(view: StudentView) -> None:
    text = Page(render_report_html(view)).text
    for phrase in (
        IN_PART_TEXT,
        "7.73 / 10",
        "Not measured",
        "count once all of them pass",
        "This part needs a CUDA GPU (cuda:*)",
        "varied too much to decide",
        "Awaiting review",
        "measured by the grader: cgroup of the sandboxed process",
        "measured by the grader: the grader's clock",
        "no points depend on it",
        "the hypervisor gave over 5 % of the time",
        "Roofline: yours reaches",
        "Spread of the reference",
    ):
        assert phrase in text


def test_markdown_has_a_table_with_a_row_per_metric(view: StudentView) -> None:
    markdown = render_report_markdown(view)
    html = str(mistune.create_markdown(escape=False, plugins=["table"])(markdown))
    page = Page(html)
    assert html.count("<table>") == 2
    metrics = sum(
        len(finding.metrics)
        for p in view.problems
        for c in p.checks
        for target in c.target
        for finding in target.finding
    )
    assert html.count("<tr>") == 2 + metrics
    assert "Processor time in each fork: 3.1" in page.text
    assert "\\" not in page.text
    assert "**" not in page.text


def test_a_notebook_has_the_charts_under_its_cells() -> None:
    record = samples.make_notebook_record()
    measured = target_samples.make_target_record()
    joined = replace(measured, submission=record.submission)
    page = Page(render_feedback_html(make_view(joined)))
    assert page.tags >= CHART_TAGS


def test_hostile_text_stays_text_around_charts() -> None:
    hostile = plant(target_samples.make_target_record(), lambda path, text: HOSTILE)
    page = Page(render_report_html(make_view(hostile)))
    assert page.tags <= SAFE_TAGS | CHART_TAGS | {"br"}
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "src"]
    markdown = render_report_markdown(make_view(hostile))
    html = str(mistune.create_markdown(escape=False, plugins=["url", "table"])(markdown))
    assert not Page(html).tags & {"script", "a", "img", "iframe"}
    index = Page(render_class_index([hostile]))
    assert not index.tags & {"img", "iframe"}


def test_staff_see_why_points_await_review() -> None:
    (waiting,) = make_index([target_samples.make_target_record()]).review
    assert (waiting.name, waiting.points, waiting.title) == (
        "hopper",
        10.0,
        "The target implausible",
    )
    assert "below the roofline floor" in waiting.evidence[0]
    assert any("Wall-clock time: 0.04 times" in line for line in waiting.evidence)
    text = Page(render_class_index([target_samples.make_target_record()])).text
    assert "below the roofline floor" in text
    assert "10 awaiting review" in text
    assert "20 open" in text
