import base64
import hashlib
from dataclasses import replace

from grader.judge.judgement import Cause, Status
from grader.record.grade_record import GradeRecord
from grader.report import messages
from grader.report.class_index import make_index, render_class_index
from tests.unit.report import samples, target_samples
from tests.unit.report.planting import Page, plant


def test_rows_counts_and_distribution() -> None:
    index = make_index(samples.make_class(120))
    assert len(index.rows) == 120
    assert dict(index.counts)[Status.REJECTED] == 2
    assert sum(count for _, count in index.counts) == 120
    assert sum(score_bin.count for score_bin in index.bins) == index.scored_count
    assert index.scored_count == 118 - dict(index.counts)[Status.UNGRADED]
    assert max(score_bin.height for score_bin in index.bins) == 120.0
    assert [row.name for row in index.rows] == sorted(row.name for row in index.rows)


def test_a_full_score_is_in_the_last_bin() -> None:
    counts = [b.count for b in make_index([samples.make_record()]).bins]
    assert counts == [0] * 9 + [1]


def test_causes_count_submissions_not_checks() -> None:
    record = samples.make_record(judgement=samples.make_judgement(*samples.EVERY_VERDICT))
    causes = dict(make_index([record, replace(record)]).causes)
    assert causes == {Cause.WRONG_ERROR: 2, Cause.WRONG_VALUE: 2, Cause.INFRASTRUCTURE: 2}


def test_a_rejected_file_has_no_causes() -> None:
    index = make_index([samples.make_rejected_record()])
    assert index.causes == ()
    assert all(cell is not None and cell.causes == () for cell in index.rows[0].cells)


def test_a_rejected_file_is_counted_apart_and_has_its_reason() -> None:
    index = make_index([samples.make_record("ada"), samples.make_rejected_record()])
    assert (index.scored_count, index.mean) == (1, 30.0)
    assert [row.reason[:24] for row in index.rows] == ["", "expected a Python module"]
    text = Page(render_class_index([samples.make_rejected_record()])).text
    assert "found 12 KiB that are not text Save the file as" in text
    assert "No submission has a score yet." in text
    assert "0 / 10" not in text


def test_what_is_kept_aside_is_counted() -> None:
    records = [samples.make_record("ada")]
    assert "kept aside" not in render_class_index(records)
    assert "2 more are kept aside" in render_class_index(records, aside_count=2)


def test_a_record_of_another_plan_is_marked() -> None:
    old, record = samples.make_record("ada"), samples.make_record("bob")
    plan = replace(record.plan, title="Shorter", problems=record.plan.problems[:2])
    new = replace(record, record_id="2", created_at="2999-01-01", plan=plan)
    index = make_index([old, new])
    assert [row.outdated for row in index.rows] == [True, False]
    assert index.scored_count == 1
    assert "outdated: graded under another plan" in render_class_index([old, new])


def test_page_shows_every_submission_with_links() -> None:
    page = Page(render_class_index([samples.make_record("ada"), samples.make_rejected_record()]))
    links = page.values("href")
    assert "students/ada/report.html" in links
    assert "staff/zuse/record.json" in links
    assert "Rejected" in page.text
    assert messages.UNCONFINED_TEXT not in page.text


def test_names_are_quoted_in_links() -> None:
    page = Page(render_class_index([samples.make_record("O'Neil #1 %<b>")]))
    assert "students/O%27Neil%20%231%20%25%3Cb%3E/report.html" in page.values("href")
    assert "b" not in page.tags


def test_unconfined_submissions_are_counted_in_the_banner() -> None:
    unconfined = samples.make_record("b", measurement=samples.make_measurement(sandbox="none"))
    text = render_class_index([samples.make_record("a"), unconfined])
    assert f"1 of 2: {messages.UNCONFINED_TEXT}" in text


def test_policy_allows_our_script_and_no_other() -> None:
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)></td></script>"
    record = plant(samples.make_record(), lambda path, text: hostile)
    page = Page(render_class_index([record]))
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in page.policy
    assert "unsafe" not in page.policy
    assert "img" not in page.tags
    assert page.values("style") == page.values("onerror") == []


def test_a_problem_without_a_grade_shows_a_dash() -> None:
    judgement = samples.make_judgement(*samples.EVERY_VERDICT, status=Status.UNGRADED)
    page = Page(render_class_index([samples.make_record(judgement=judgement)]))
    assert "– / 10" in page.text
    assert "0 / 10" not in page.text.replace("10 / 10", "")


def test_an_empty_class() -> None:
    assert "No submission has a score yet." in render_class_index([])


def test_the_checks_that_most_fail_stand_with_what_they_cost() -> None:
    record = target_samples.make_target_record()
    passed = make_index([samples.make_record()])
    assert passed.checks == ()
    index = make_index([record, replace(record)])
    assert [(row.problem, row.kind, row.failed) for row in index.checks] == [
        ("SlotCache: Slots that are used again", kind, 2) for kind in kinds_of_slots(record)
    ]
    page = Page(render_class_index([record])).text
    assert "Checks that most fail" in page
    plan = replace(record.plan, left_out_points=15.0)
    assert "15 points of targets" in Page(render_class_index([replace(record, plan=plan)])).text


def kinds_of_slots(record: GradeRecord) -> list[str]:
    slots = record.plan.problems[-1]
    assert slots.name == "SlotCache"
    return ["essential" if slots.targets else "" for _ in slots.checks]
