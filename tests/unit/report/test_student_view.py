import itertools
import re
from dataclasses import replace
from pathlib import Path

import pytest

from grader.judge.judgement import Cause, Status, Verdict
from grader.record.grade_record import GradeRecord
from grader.report.output_folder import write_student
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import OUTPUT_SHOWN_CHARS, make_view
from tests.unit.report import samples
from tests.unit.report.planting import plant

# Every field that a student may see; one that is added to a record is secret until it is here.
MAY_BE_SEEN = {
    "advice.kernels[].arguments",
    "advice.kernels[].kernel",
    "advice.kernels[].message",
    "advice.kernels[].message_location",
    "advice.kernels[].location",
    "advice.kernels[].target",
    "advice.notice",
    "created_at",
    "environment.device",
    "environment.grader_version",
    "judgement.checks[].findings[].summary",
    "judgement.checks[].summary",
    "judgement.checks[].title",
    "judgement.message",
    "measurement.isolation",
    "measurement.layers[]",
    "measurement.problems[].output",
    "measurement.sandbox",
    "plan.problems[].checks[].description",
    "plan.problems[].exports[]",
    "plan.problems[].targets[].description",
    "plan.problems[].targets[].devices[]",
    "plan.problems[].name",
    "plan.problems[].title",
    "plan.title",
    "submission.name",
    "submission.notebook_json",
    "submission.notices[]",
    "submission.sha256",
}


def _full_record() -> GradeRecord:
    """Return a notebook's record in which every check, ungraded ones too, has findings."""
    record = replace(samples.make_notebook_record(), advice=samples.make_advice())
    hidden = replace(samples.make_finding(public=False), summary="another way to fail")
    findings = (samples.make_finding(public=True), hidden)
    checks = tuple(replace(c, findings=findings, summary="s") for c in record.judgement.checks)
    return replace(record, judgement=replace(record.judgement, checks=checks, message="m"))


def _plant_markers(record: GradeRecord) -> tuple[GradeRecord, dict[str, tuple[str, str]]]:
    """Return the record with a unique marker per string, and each marker's path and old text."""
    numbers = itertools.count()
    planted: dict[str, tuple[str, str]] = {}

    def mark(path: str, text: str) -> str:
        marker = f"mk{next(numbers):05d}"
        planted[marker] = (path, text)
        if path == "submission.notebook_json":
            return samples.make_notebook(("markdown", marker))
        if path == "submission.files[].text":
            return f"# {marker}\n{text}"
        return marker

    return plant(record, mark), planted


def _seen_markers(record: GradeRecord, out: Path) -> set[str]:
    write_student(record, out)
    files = sorted(path for path in (out / "students").rglob("*") if path.is_file())
    assert [f.name for f in files] == [
        "feedback.html",
        "feedback.ipynb",
        "report.html",
        "report.md",
    ]
    return {m for f in files for m in re.findall(r"mk\d{5}", f.read_text(encoding="utf-8"))}


def test_no_secret_field_reaches_a_students_file(tmp_path: Path) -> None:
    record, planted = _plant_markers(_full_record())
    public = {
        text
        for check in record.judgement.checks
        if check.verdict is not Verdict.UNGRADED
        for finding in check.findings
        if finding.public
        for text in (finding.expected, finding.got, finding.where, finding.stacks)
    }

    seen = _seen_markers(record, tmp_path)

    leaked = {planted[m] for m in seen - public if planted[m][0] not in MAY_BE_SEEN}
    assert not leaked
    assert public <= seen
    paths = {planted[marker][0] for marker in seen}
    assert {"measurement.problems[].output", "measurement.layers[]", "submission.name"} <= paths
    secret = {"plan.seed", "environment.platform", "submission.files[].text", "record_id"}
    assert secret <= {path for path, _ in planted.values()} - paths


def test_an_ungraded_check_keeps_only_its_cause(tmp_path: Path) -> None:
    record, _ = _plant_markers(_full_record())
    ungraded = [c for c in record.judgement.checks if c.verdict is Verdict.UNGRADED]
    assert ungraded
    ours = {
        text
        for check in ungraded
        for text in (
            check.summary,
            *(f.summary for f in check.findings),
            check.findings[0].expected,
        )
    }
    assert not ours & _seen_markers(record, tmp_path)


def test_hidden_findings_have_no_field_for_values() -> None:
    view = make_view(_full_record())
    hidden = [h for problem in view.problems for check in problem.checks for h in check.hidden]
    assert hidden
    assert all(set(type(h).__dataclass_fields__) == {"label", "summary"} for h in hidden)


def test_output_is_cut_and_says_so() -> None:
    output = "x" * (OUTPUT_SHOWN_CHARS + 7)
    record = samples.make_record(measurement=samples.make_measurement(output=output))
    problem = make_view(record).problems[0]
    assert len(problem.output) == OUTPUT_SHOWN_CHARS
    assert problem.output_dropped_chars == 7


def test_description_is_unwrapped_by_paragraph() -> None:
    check = make_view(samples.make_record()).problems[0].checks[0]
    assert check.description == "Chunks of 3, 2 and 5, then one of 10.\nBoth must agree."


def test_points_add_up() -> None:
    view = make_view(samples.make_notebook_record())
    parts = view.score, view.review_points, view.ungraded_points, view.lost_points
    assert parts == (8.0, 5.0, 5.0, 12.0)
    assert view.graded_at == "2026-03-02 10:20 UTC"


def test_cells_are_found_without_parsing() -> None:
    cells = {p.tally.name: p.cells for p in make_view(samples.make_notebook_record()).problems}
    assert cells == {"KVCache": (2,), "decode_attention": (4, 5), "SlotCache": ()}


@pytest.mark.parametrize(
    ("source", "cells"),
    [
        ("class KVCache:\n    pass", (1,)),
        ("class KVCacheTwo: pass\nx = 1", ()),
        ("class KVCache: pass\nclass KVCache: pass", (2,)),
        ("KVCache = make()\n", (1,)),
        ("KVCache == 3\n", ()),
        ("    class KVCache: pass", ()),
        ("async def KVCache(): ...", (1,)),
        ("(" * 200_000 + "\ndef KVCache(): ...", (2,)),
    ],
)
def test_definitions_by_line(source: str, cells: tuple[int, ...]) -> None:
    record = samples.make_notebook_record()
    numbers = tuple(range(1, source.count("\n") + 2))
    facts = replace(record.submission, files=samples.make_files(source, numbers))
    assert make_view(replace(record, submission=facts)).problems[0].cells == cells


def test_rejected_submission_has_no_problems() -> None:
    view = make_view(samples.make_rejected_record())
    assert view.status is Status.REJECTED
    assert view.problems == ()
    assert "kv_cache.py" in view.message


def test_unconfined_is_the_sandbox_none() -> None:
    record = samples.make_record(measurement=samples.make_measurement(sandbox="none"))
    assert make_view(record).unconfined
    assert not make_view(samples.make_record()).unconfined


def test_every_cause_has_a_text() -> None:
    for cause in Cause:
        verdict = Verdict.UNGRADED if cause.value in ("infrastructure", "author") else Verdict.FAIL
        judgement = samples.make_judgement((verdict, cause))
        assert make_view(samples.make_record(judgement=judgement)).problems[0].checks[0].summary


def failed_once(cause):
    outcomes = ((Verdict.FAIL, cause), *samples.ALL_PASSED[1:])
    return samples.make_record(judgement=samples.make_judgement(*outcomes))


def test_a_public_case_has_its_calls_and_a_hidden_one_nothing(monkeypatch):
    asked = []

    def written(slug, sha256, name, *, module):
        asked.append((slug, sha256, str(name), module))
        return "cache = KVCache()\n"

    monkeypatch.setattr("grader.report.student_view.code_of_graded_case", written)
    record = failed_once(Cause.WRONG_VALUE)
    view = make_view(record)
    (case,) = view.problems[0].checks[0].public
    assert asked == [("kv_cache", record.plan.assignment_sha256, "KVCache.append[1]", "kv_cache")]
    assert (str(case.name), case.code) == ("KVCache.append[1]", "cache = KVCache()\n")
    assert "hidden" in case.label
    assert view.problems[0].checks[0].hidden == ()
    for page in (render_report_html(view), render_report_markdown(view)):
        assert page.count("cache = KVCache()") == 1
        assert page.count("--show") == 1


def test_what_is_missing_has_no_calls(monkeypatch):
    monkeypatch.setattr("grader.report.student_view.code_of_graded_case", lambda *a, **k: "code")
    view = make_view(failed_once(Cause.MISSING))
    assert view.problems[0].checks[0].public[0].code == ""
