"""A report tells a thing once: within a check, across checks, and at the top for the whole file."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.plan import PlannedProblem
from grader.assignment.target import CheckKind
from grader.evidence.faults import IMPORT_FAILED, NAME_MISSING, NOT_IMPLEMENTED
from grader.judge.judgement import CaseFinding, Cause, CheckJudgement, Verdict
from grader.report.finding_view import (
    MOST_NAMED,
    HiddenFinding,
    PublicFinding,
    common_reasons,
    find_repeats,
    view_findings,
)
from grader.report.messages import COMMON_TEXT
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import StudentView, make_view
from tests.unit.report import samples, target_samples
from tests.unit.report.planting import Page

BRACKET = f"{IMPORT_FAILED}: SyntaxError: unmatched ')' (grace.py, line 438)"


def case(summary: str, index: int = 0, *, public: bool = False, got: str = "") -> CaseFinding:
    return CaseFinding(
        public=public,
        index=index,
        summary=summary,
        expected="",
        got=got if public else "a hidden value",
        where="grace.py, line 438",
    )


def failing(
    *findings: CaseFinding, cause: Cause = Cause.CRASH, problem: str = "KVCache", check: str = "c"
) -> CheckJudgement:
    made = samples.make_check("KVCache", "append", Verdict.FAIL, cause)
    return replace(made, problem=problem, check=check, title=check, findings=findings)


def alike(summary: str, got: str = "") -> tuple[CaseFinding, ...]:
    """Return four findings, all of the cases of a sample check."""
    return (case(summary, public=True, got=got), *(case(summary, n) for n in range(3)))


def view_of(*findings: tuple[CaseFinding, ...], cause: Cause) -> StudentView:
    """Return the view of a record whose six checks failed with these findings, in turns."""
    judgement = samples.make_judgement(*((Verdict.FAIL, cause),) * 6)
    checks = tuple(
        replace(check, findings=findings[number % len(findings)])
        for number, check in enumerate(judgement.checks)
    )
    return make_view(samples.make_record(judgement=replace(judgement, checks=checks)))


def test_a_cause_that_all_cases_share_is_one_line() -> None:
    (only,) = view_findings(failing(*alike("IndexError was raised (kv.py, line 3)", "index 5")))
    assert isinstance(only, PublicFinding)
    assert (only.label, only.got) == ("All 4 cases", "index 5")


def test_cases_that_fail_alike_are_named_together() -> None:
    findings = (case("a", 2, public=True), case("b", 0), case("a", 1), case("b", 1), case("b", 2))
    entries = view_findings(replace(failing(*findings), cases=9))
    assert [(type(one), one.label, one.summary) for one in entries] == [
        (PublicFinding, "Public case 2, hidden case 1", "a"),
        (HiddenFinding, "Hidden cases 0, 1 and 2", "b"),
    ]


def test_public_cases_with_other_values_stay_apart() -> None:
    findings = [case("a", n, public=True, got=got) for n, got in enumerate("xyx")]
    entries = view_findings(replace(failing(*findings, case("a", 0)), cases=9))
    assert [(one.label, one.got) for one in entries if isinstance(one, PublicFinding)] == [
        ("Public cases 0 and 2, hidden case 0", "x"),
        ("Public case 1", "y"),
    ]


def test_a_place_that_the_sentence_names_is_not_told_again() -> None:
    (only,) = view_findings(failing(*alike(BRACKET)))
    assert isinstance(only, PublicFinding)
    assert only.where == ""


@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.booleans(), st.sampled_from("xy")),
        max_size=MOST_NAMED,
    )
)
def test_every_case_is_told_in_exactly_one_line(drawn: list[tuple[str, bool, str]]) -> None:
    findings = [
        case(text, n, public=public, got=got) for n, (text, public, got) in enumerate(drawn)
    ]
    entries = view_findings(replace(failing(*findings), cases=99))
    told = {(one.summary, getattr(one, "got", "")) for one in entries}
    assert len(told) == len(entries)
    assert {one.summary for one in entries} == {one.summary for one in findings}
    assert "a hidden value" not in {got for _, got in told}
    named = [int(word.strip(",")) for e in entries for word in e.label.split() if word[0].isdigit()]
    assert sorted(named) == list(range(len(findings)))


def test_a_fault_of_several_checks_is_told_once_and_referred_to() -> None:
    checks = [
        failing(*alike("IndexError was raised (kv.py, line 3)"), check="first"),
        failing(*alike("IndexError was raised (kv.py, line 3)"), check="second"),
        failing(*alike("KeyError was raised (kv.py, line 3)"), check="third"),
        failing(*alike("IndexError was raised (kv.py, line 3)"), problem="other", check="first"),
    ]
    assert find_repeats(checks) == {("KVCache", "second"): "first"}


def test_a_repeated_fault_is_one_sentence_in_the_view() -> None:
    crash = alike("IndexError was raised (kv.py, line 3)")
    problem = view_of(crash, crash, cause=Cause.CRASH).problems[0]
    # All problems fail by it, so it stands at the top; within a problem it is told once as well.
    first, second = problem.checks
    assert [one.label for one in first.public] == ["All 4 cases"]
    assert first.summary == "4 of 4 cases failed."
    assert second.summary == f"The same as in “{first.title}” above."
    assert (second.public, second.hidden) == ((), ())


def test_one_import_error_is_one_card_at_the_top() -> None:
    view = view_of(alike(BRACKET), cause=Cause.CRASH)
    (reason,) = view.common
    assert (reason.summary, reason.is_ours) == (BRACKET, False)
    assert reason.problems == ("KVCache", "decode_attention", "SlotCache")
    assert {problem.brief for problem in view.problems} == {COMMON_TEXT}
    markdown = render_report_markdown(view)
    assert markdown.count("unmatched") == 1
    assert len(markdown.splitlines()) < 40
    assert Page(render_report_html(view)).text.count("unmatched") == 1


def test_an_import_error_of_the_only_problem_is_a_card_as_well() -> None:
    assert common_reasons([failing(*alike(BRACKET))])
    assert not common_reasons([failing(*alike("IndexError was raised (kv.py, line 3)"))])


def test_a_problem_that_also_fails_otherwise_is_told_in_full() -> None:
    view = view_of(alike(BRACKET), alike(BRACKET), alike("KeyError"), cause=Cause.CRASH)
    assert [reason.problems for reason in view.common] == [("KVCache",)]
    assert [problem.brief for problem in view.problems] == [COMMON_TEXT, "", ""]


@pytest.mark.parametrize(
    ("summary", "got", "line"),
    [
        (f"{NOT_IMPLEMENTED} (kv.py, line 9)", "NotImplementedError: ", "(kv.py, line 9)."),
        (NAME_MISSING, "KVCache", "is not defined: KVCache."),
    ],
)
def test_an_untouched_problem_takes_one_line(summary: str, got: str, line: str) -> None:
    view = view_of(alike(summary, got), cause=Cause.MISSING)
    assert view.common == ()
    for problem in view.problems:
        assert problem.brief.startswith("Not begun: ")
        assert problem.brief.endswith(line)
    lines = [one for one in render_report_markdown(view).splitlines() if "Not begun" in one]
    assert len(lines) == 3


def test_a_failure_of_ours_is_told_once_and_is_no_zero() -> None:
    judgement = samples.make_judgement(*((Verdict.UNGRADED, Cause.INFRASTRUCTURE),) * 6)
    (reason,) = make_view(samples.make_record(judgement=judgement)).common
    assert reason.is_ours
    assert "it is not a zero" in reason.summary


def test_output_of_the_import_is_shown_once() -> None:
    view = make_view(samples.make_record(measurement=samples.make_measurement(output="hello\n")))
    assert [problem.output for problem in view.problems] == ["hello", "", ""]


def test_names_are_the_same_everywhere() -> None:
    view = make_view(samples.make_record())
    assert view.problems[0].tally.title == "KVCache: A cache that grows"
    assert "KVCache: A cache that grows" in Page(render_report_html(view)).text


def test_back_ticks_are_rendered_and_nothing_else_is() -> None:
    record = samples.make_notebook_record()
    notice = "cell 6: dropped `plt.plot(<b>x</b>)` and `"
    facts = replace(record.submission, notices=(notice,))
    html = render_report_html(make_view(replace(record, submission=facts)))
    assert "dropped <code>plt.plot(&lt;b&gt;x&lt;/b&gt;)</code> and `" in html


def test_a_check_says_what_it_costs_where_there_are_targets() -> None:
    record = target_samples.make_target_record()
    first, *others = record.plan.problems
    assert first.targets

    def edged(problem: PlannedProblem) -> PlannedProblem:
        *rest, last = problem.checks
        return replace(problem, checks=(*rest, replace(last, kind=CheckKind.EDGE, share=0.07)))

    problems = (edged(first), *(replace(edged(one), targets=()) for one in others))
    plan = replace(record.plan, problems=problems, left_out_points=15.0)
    view = make_view(replace(record, plan=plan))
    kinds = [check.kind for check in view.problems[0].checks if not check.target]
    assert kinds[0] == "essential"
    assert kinds[-1] == "edge check, 7.0 % of the performance points"
    assert {check.kind for check in view.problems[1].checks} == {""}
    for text in (render_report_markdown(view), Page(render_report_html(view)).text):
        assert kinds[-1] in text
        assert "15 points of targets that need a device" in text
