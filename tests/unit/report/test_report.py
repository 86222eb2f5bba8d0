import base64
import hashlib
from dataclasses import replace

import mistune
import pytest

from grader.judge.judgement import Cause, Status, Verdict
from grader.record.grade_record import GradeRecord
from grader.report import messages
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import make_view
from tests.unit.report import samples
from tests.unit.report.planting import Page, plant

HOSTILE = (
    "<script>alert(1)</script><img src=x onerror=alert(1)>\"'><a href='javascript:alert(1)'>x</a>"
    "![i](https://example.org/i.png)[l](javascript:alert(1))</pre></style><!--{{ 7*7 }}"
    "\x1b[31m\x1b]8;;https://example.org\x07\n\n# heading\n```\n<iframe src=x></iframe>"
)
SAFE_TAGS = set(
    "html head meta title style body header footer main section div p span strong h1 h2 h3 a ul ol "
    "li dl dt dd table thead tbody tr th td code pre details summary svg rect path circle".split()
)


def _html(record: GradeRecord) -> Page:
    return Page(render_report_html(make_view(record)))


def _every_verdict(sandbox: str = "bwrap") -> GradeRecord:
    judgement = samples.make_judgement(*samples.EVERY_VERDICT, status=Status.UNGRADED)
    measurement = samples.make_measurement(sandbox=sandbox, output="step 1\nstep 2\n")
    return samples.make_record(judgement=judgement, measurement=measurement)


def test_report_says_the_result_of_every_check() -> None:
    text = _html(_every_verdict()).text
    for phrase in (
        "Not fully graded",
        "Not passed: wrong_error",
        "Not passed: wrong_value",
        "Awaiting review",
        messages.UNGRADED_TEXT,
        messages.CAUSE_EXPLAINED[Cause.INFRASTRUCTURE],
        "measured by the grader",
        "restricted operations",
        messages.SANDBOX_TEXT["bwrap"],
        "Landlock",
        "step 2",
    ):
        assert phrase in text
    assert "NoneType" not in text


def test_public_cases_in_full_and_hidden_ones_by_size_of_error() -> None:
    record = samples.make_record(
        judgement=samples.make_judgement((Verdict.FAIL, Cause.WRONG_VALUE))
    )
    text = _html(record).text
    assert text.count("0.48712953") == 1
    assert text.count("[0, 3, 17, 5]") == 1
    assert "Public case 1, hidden cases 1 and 3: keys() is off by 3.1e-02" in text
    assert text.count("keys() is off by 3.1e-02") == 1


@pytest.mark.parametrize("markdown", [False, True])
def test_unconfined_is_shown_on_the_page(markdown: bool) -> None:
    render = render_report_markdown if markdown else render_report_html
    assert messages.UNCONFINED_TEXT in render(make_view(_every_verdict("none")))
    assert messages.UNCONFINED_TEXT not in render(make_view(_every_verdict()))


def test_rejected_report_has_message_and_hint() -> None:
    record = samples.make_rejected_record()
    for text in (_html(record).text, render_report_markdown(make_view(record))):
        assert "Rejected" in text
        assert "found 12 KiB that are not text" in text
        assert "in UTF-8 and hand it in again" in text
        assert "Landlock" not in text
        assert "KVCache" not in text


@pytest.mark.parametrize("status", list(Status))
def test_every_status_renders(status: Status) -> None:
    judgement = replace(samples.make_judgement(*samples.ALL_PASSED), status=status)
    view = make_view(samples.make_record(judgement=judgement))
    assert messages.STATUS_TEXT[status] in render_report_html(view)
    assert messages.STATUS_EXPLAINED[status] in render_report_markdown(view)


def test_a_wholly_ungraded_submission_shows_no_zero() -> None:
    outcomes = ((Verdict.UNGRADED, Cause.INFRASTRUCTURE),) * 6
    record = samples.make_record(
        judgement=samples.make_judgement(*outcomes, status=Status.UNGRADED)
    )
    assert "– / 30 points" in _html(record).text
    assert "– / 30 points" in render_report_markdown(make_view(record))


def test_page_is_self_contained_under_a_strict_policy() -> None:
    page = _html(_every_verdict())
    assert page.scripts == []
    assert page.values("src") == []
    assert all(link.startswith("#") for link in page.values("href"))
    (style,) = page.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.policy == (
        f"default-src 'none'; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert "url(" not in style
    assert "@import" not in style
    assert page.values("style") == []


def test_anchors_lead_somewhere() -> None:
    page = _html(_every_verdict())
    assert {link.removeprefix("#") for link in page.values("href")} <= set(page.values("id"))


@pytest.mark.parametrize("rejected", [False, True])
def test_hostile_text_stays_text_in_html(rejected: bool) -> None:
    record = samples.make_rejected_record() if rejected else _every_verdict()
    page = _html(plant(record, lambda path, text: HOSTILE))
    assert page.tags <= SAFE_TAGS
    assert not [name for _, name, _ in page.attributes if name.startswith("on") or name == "src"]
    assert all(link.startswith("#") for link in page.values("href"))
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x1b" not in page.text


@pytest.mark.parametrize("rejected", [False, True])
def test_hostile_text_stays_text_in_markdown(rejected: bool) -> None:
    record = samples.make_rejected_record() if rejected else _every_verdict()
    hostile = plant(record, lambda path, text: HOSTILE)
    markdown = render_report_markdown(make_view(hostile))
    html = mistune.create_markdown(escape=False, plugins=["url", "table"])(markdown)
    page = Page(str(html))
    assert page.tags <= {"h1", "h2", "p", "strong", "ul", "li", "pre", "code", "blockquote"}
    assert page.values("href") == page.values("src") == []
    assert "\x1b" not in markdown


def test_markdown_structure() -> None:
    markdown = render_report_markdown(make_view(_every_verdict()))
    html = str(mistune.create_markdown(escape=False)(markdown))
    assert html.count("<h2>") == 4
    assert html.count("<pre>") == 1  # the same output of three problems is told once
    assert "\\" not in Page(html).text
    assert "Expected: 0.48712953" in Page(html).text


@pytest.mark.parametrize("markdown", [True, False])
def test_denied_operations_are_named_with_what_cannot_be_blocked(markdown: bool) -> None:
    record = _every_verdict()
    cache, attend, slots = record.plan.problems
    problems = (replace(cache, denied=("@compute",)), replace(attend, denied=("aten::mm",)), slots)
    view = make_view(replace(record, plan=replace(record.plan, problems=problems)))
    text = render_report_markdown(view) if markdown else Page(render_report_html(view)).text
    assert text.count("In every run, timed ones too") == 2
    assert "your own kernel must compute" in text
    assert "aten" in text
    assert "cannot block the same computation in numpy" in text
