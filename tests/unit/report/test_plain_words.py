"""Reports use the usual words of the field: no private word of an earlier version is left."""

import json
from collections.abc import Sequence
from dataclasses import replace

import pytest

from grader.judge.judgement import Cause, Judgement, Status, Verdict
from grader.record.grade_record import GradeRecord
from grader.report import messages
from grader.report.class_index import render_class_index
from grader.report.notebook import FEEDBACK_TAG, make_feedback_notebook, render_feedback_html
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import make_view
from tests.old_words import find_old_words
from tests.unit.report import samples, target_samples
from tests.unit.report.planting import Page


def _of_status(status: Status) -> GradeRecord:
    """Return a notebook's record of this status, with every verdict and denied operations."""
    record = samples.make_notebook_record()
    cache, attention, slots = record.plan.problems
    problems = (
        replace(cache, denied=("@compute",)),
        replace(attention, denied=("aten::mm",)),
        slots,
    )
    return replace(
        record,
        plan=replace(record.plan, problems=problems),
        judgement=replace(record.judgement, status=status),
        advice=samples.make_advice(),
    )


def _of_causes(causes: Sequence[Cause]) -> Judgement:
    ours = (Cause.INFRASTRUCTURE, Cause.AUTHOR, Cause.NO_DEVICE)
    outcomes = ((Verdict.UNGRADED if one in ours else Verdict.FAIL, one) for one in causes)
    return samples.make_judgement(*outcomes)


CAUSES = [cause for cause in Cause if cause is not Cause.NONE]
TARGETS = replace(
    target_samples.make_target_record(), submission=samples.make_notebook_record().submission
)
RECORDS = {
    **{status.value: _of_status(status) for status in Status},
    "rejected file": samples.make_rejected_record(),
    "unconfined": samples.make_record(measurement=samples.make_measurement(sandbox="none")),
    "first causes": samples.make_record(judgement=_of_causes(CAUSES[:6])),
    "middle causes": samples.make_record(judgement=_of_causes(CAUSES[6:12])),
    "last causes": samples.make_record(judgement=_of_causes(CAUSES[12:])),
    "targets": TARGETS,
}


def _visible(html: str) -> str:
    """Return what a reader of a page sees, or hears from a screen reader."""
    page = Page(html)
    return " ".join([page.text, *page.values("aria-label")])


@pytest.mark.parametrize("name", list(RECORDS))
def test_reports_and_class_index_use_no_old_word(name: str) -> None:
    record = RECORDS[name]
    view = make_view(record)
    assert not find_old_words(_visible(render_report_html(view)))
    assert not find_old_words(render_report_markdown(view))
    assert not find_old_words(_visible(render_class_index([record])))


@pytest.mark.parametrize("name", [n for n, r in RECORDS.items() if r.submission.notebook_json])
def test_a_notebook_with_feedback_uses_no_old_word(name: str) -> None:
    view = make_view(RECORDS[name])
    assert not find_old_words(_visible(render_feedback_html(view)))
    cells = json.loads(make_feedback_notebook(view))["cells"]
    feedback = [c["source"] for c in cells if FEEDBACK_TAG in c["metadata"].get("tags", ())]
    assert feedback
    assert not [found for source in feedback for found in find_old_words("".join(source))]


def test_texts_that_no_sample_shows_use_no_old_word() -> None:
    mappings = [value for value in vars(messages).values() if isinstance(value, dict)]
    texts = [value for value in vars(messages).values() if isinstance(value, str)]
    texts += [text for mapping in mappings for text in mapping.values() if isinstance(text, str)]
    assert len(texts) > 80
    assert not find_old_words("\n".join(texts))


def test_a_report_names_each_cause_as_the_documentation_does() -> None:
    for name in ("first causes", "middle causes", "last causes"):
        view = make_view(RECORDS[name])
        for text in (_visible(render_report_html(view)), render_report_markdown(view)):
            assert "see “Causes” in the course's documentation" in text
            for check in (check for problem in view.problems for check in problem.checks):
                assert check.cause in text
                assert messages.CAUSE_EXPLAINED[check.cause] in " ".join(text.split())


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("It ran behind a wall, in boxes.", ["wall", "behind a", "box"]),
        ("Wall-clock time and wall time; a held-out set; figure out why.", []),
        ("A bounding-box, a checkbox, a firewall and improved spaces.", []),
        ("The HELD points\nof a figure that was lent.", ["figure", "held", "lent"]),
    ],
)
def test_old_words_are_found_as_words(text: str, words: list[str]) -> None:
    assert [found.partition(":")[0] for found in find_old_words(text)] == words
