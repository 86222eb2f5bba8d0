"""The kill matrix and its complaints, each planted here."""

from pathlib import Path

import pytest

from grader.assignment.table import Evidence
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Status, Verdict
from grader.validate.kill_matrix import build_matrix
from grader.validate.known_submission import Kind, KnownSubmission

A, B = "p.a", "p.b"
WRONG = Cause.WRONG_VALUE


def submission(
    name, kind=Kind.WRONG, fails=(), caught_by="", cause=Cause.NONE, misses=(), needs_review=()
):
    return KnownSubmission(
        name=name,
        kind=kind,
        path=Path(f"{name}.py"),
        files=(),
        affects=frozenset(),
        fails=frozenset(fails),
        misses=frozenset(misses),
        needs_review=frozenset(needs_review),
        caught_by=caught_by,
        causes=frozenset({cause} if isinstance(cause, Cause) else cause) - {Cause.NONE},
    )


def judgement(*needs_review, **causes):
    """Return a judgement on checks a and b; those that are not named pass or need review."""
    checks = tuple(
        CheckJudgement(
            problem="p",
            check=name,
            title=name,
            verdict=Verdict.NEEDS_REVIEW
            if name in needs_review
            else verdict_of(causes.get(name, Cause.NONE)),
            cause=(cause := causes.get(name, Cause.NONE)),
            points=5.0 if cause is Cause.NONE and name not in needs_review else 0.0,
            max_points=5.0,
            evidence=Evidence.OUTSIDE,
            summary=f"{name} said so",
            findings=(),
            cases=1,
        )
        for name in "ab"
    )
    return Judgement(
        status=Status.GRADED,
        score=sum(c.points for c in checks),
        max_score=10.0,
        ungraded_points=sum(c.max_points for c in checks if c.verdict is Verdict.UNGRADED),
        review_points=5.0 * len(needs_review),
        checks=checks,
    )


def verdict_of(cause):
    if cause is Cause.NONE:
        return Verdict.PASS
    ours = (Cause.INFRASTRUCTURE, Cause.AUTHOR, Cause.NO_DEVICE)
    return Verdict.UNGRADED if cause in ours else Verdict.FAIL


STARTER = (
    submission("starter", Kind.STARTER, (A, B)),
    judgement(a=Cause.MISSING, b=Cause.MISSING),
)
SOLUTION = (submission("solution", Kind.SOLUTION), judgement())
ONLY_A = (submission("only_a", fails=(A,), caught_by=A, cause=WRONG), judgement(a=WRONG))
ONLY_B = (
    submission("only_b", fails=(B,), caught_by=B, cause=Cause.CRASH),
    judgement(b=Cause.CRASH),
)
BOTH = (submission("both", fails=(A, B), caught_by=A, cause=WRONG), judgement(a=WRONG, b=WRONG))
NEEDS_REVIEW = (
    submission("silent", fails=(A,), caught_by=A, cause=WRONG, needs_review=(B,)),
    judgement("b", a=WRONG),
)
SOUND = (STARTER, SOLUTION, ONLY_A, ONLY_B, BOTH)


def test_a_sound_assignment_has_no_complaints():
    validation = build_matrix("demo", SOUND)
    assert validation.complaints == ()
    by_name = {result.check: result for result in validation.checks}
    assert (by_name[A].catches, by_name[A].alone) == (("only_a", "both"), ("only_a",))
    assert (by_name[B].catches, by_name[B].alone) == (("only_b", "both"), ("only_b",))
    percents = {result.name: result.percent for result in validation.known_submissions}
    assert percents == {"starter": 0, "solution": 100, "only_a": 50, "only_b": 50, "both": 0}


def test_a_cause_may_be_one_of_two():
    two = submission("two", fails=(A,), caught_by=A, cause={WRONG, Cause.CRASH})
    for cause in (WRONG, Cause.CRASH):
        assert build_matrix("demo", (*SOUND, (two, judgement(a=cause)))).complaints == ()
    (said,) = build_matrix("demo", (*SOUND, (two, judgement(a=Cause.TIMEOUT)))).complaints
    assert "two.py: p.a should fail with crash or wrong_value, fails with timeout" in said


@pytest.mark.parametrize(("left_out", "check"), [(ONLY_A, A), (ONLY_B, B)])
def test_a_check_that_is_nobodys_sole_catcher(left_out, check):
    judged = [pair for pair in SOUND if pair is not left_out]
    (complaint,) = build_matrix("demo", judged).complaints
    assert complaint.startswith(f"{check}: no wrong submission fails this and nothing else")


def test_a_submission_that_needs_review_catches_nothing_alone():
    judged = [NEEDS_REVIEW if pair is ONLY_A else pair for pair in SOUND]
    (complaint,) = build_matrix("demo", judged).complaints
    assert complaint.startswith(f"{A}: no wrong submission fails this and nothing else")


def test_a_right_or_starting_submission_is_no_catch():
    validation = build_matrix("demo", (STARTER, SOLUTION))
    assert all(result.catches == () for result in validation.checks)
    assert len(validation.complaints) == 2


@pytest.mark.parametrize(
    ("known", "seen", "expected"),
    [
        (ONLY_A[0], judgement(), "should fail p.a, but passes"),
        (ONLY_A[0], judgement(a=WRONG, b=WRONG), "should pass p.b, but fails (wrong_value: b"),
        (ONLY_A[0], judgement(a=Cause.CRASH), "p.a should fail with wrong_value, fails with crash"),
        (ONLY_A[0], judgement(a=Cause.AUTHOR), "p.a could not be judged: a said so"),
        (ONLY_A[0], judgement(a=WRONG, b=Cause.INFRASTRUCTURE), "p.b could not be judged"),
        (SOLUTION[0], judgement(b=Cause.TIMEOUT), "should pass p.b, but fails (timeout"),
        (submission("sum", Kind.RIGHT), judgement(a=WRONG), "should pass p.a, but fails"),
        (SOLUTION[0], judgement("b"), "p.b should not need review: b said so"),
        (submission("sum", Kind.RIGHT), judgement("a"), "p.a should not need review: a said so"),
        (ONLY_A[0], judgement("b", a=WRONG), "p.b should not need review: b said so"),
        (ONLY_A[0], judgement("a"), "p.a should not need review: a said so"),
        (NEEDS_REVIEW[0], judgement(a=WRONG), "p.b should need review, but does not"),
        (STARTER[0], judgement(a=Cause.MISSING), "should fail p.b, but passes"),
        (STARTER[0], judgement(a=Cause.MISSING, b=Cause.CRASH), "p.b should be missing, is crash"),
    ],
)
def test_every_difference_from_what_is_known_is_a_complaint(known, seen, expected):
    validation = build_matrix("demo", (*SOUND, (known, seen)))
    (complaint,) = validation.complaints
    assert expected in complaint
    assert complaint.startswith(f"{known.path}: ")
    assert validation.known_submissions[-1].complaints == (complaint,)


def test_a_missing_device_is_no_complaint_about_the_submission():
    seen = judgement(a=WRONG, b=Cause.NO_DEVICE)
    validation = build_matrix("demo", (*SOUND, (BOTH[0], seen)))
    assert validation.complaints == ()
    assert (
        validation.known_submissions[-1].max_score,
        validation.known_submissions[-1].percent,
    ) == (5.0, 0.0)


def test_what_no_machine_part_can_judge_is_no_division_by_zero():
    seen = judgement(a=Cause.NO_DEVICE, b=Cause.NO_DEVICE)
    assert build_matrix("demo", [(SOLUTION[0], seen)]).known_submissions[0].percent == 0.0


def test_processor_time_stands_with_its_submission():
    validation = build_matrix("demo", SOUND, cpu_s={ONLY_A[0].path: 1.5})
    times = {result.name: result.cpu_s for result in validation.known_submissions}
    assert times == {"starter": 0, "solution": 0, "only_a": 1.5, "only_b": 0, "both": 0}


def test_other_complaints_are_kept():
    assert build_matrix("demo", SOUND, ["from elsewhere"]).complaints == ("from elsewhere",)
    assert build_matrix("demo", []).checks == ()


def test_a_right_one_may_miss_what_it_says():
    slow = [(submission("slow", Kind.RIGHT, misses=[A]), judgement(a=Cause.TOO_SLOW))]
    assert not [c for c in build_matrix("x", slow).complaints if "slow.py" in c]
    slower = [(submission("slow", Kind.RIGHT, misses=[A]), judgement(b=Cause.TOO_SLOW))]
    assert [c for c in build_matrix("x", slower).complaints if "should pass p.b" in c]


@pytest.mark.parametrize(
    ("wide", "alone"),
    [((), ["only_a"]), ((B,), ["only_a", "both"]), ((A, B), ["only_a"]), (("q.b",), ["only_a"])],
)
def test_a_check_of_everything_may_fail_beside_a_check_of_one_thing(wide, alone):
    """But not the other way round, and not beside another problem's check."""
    matrix = build_matrix("x", [STARTER, SOLUTION, ONLY_A, BOTH, ONLY_B], wide=frozenset(wide))
    caught = {result.check: result for result in matrix.checks}
    assert list(caught[A].alone) == alone
    assert caught[B].alone == ("only_b",)


@pytest.mark.parametrize("listed", [(A,), (A, B)])
@pytest.mark.parametrize(
    "causes", [{"a": Cause.WRONG_VALUE}, dict.fromkeys("ab", Cause.WRONG_VALUE)]
)
def test_whether_a_check_of_everything_fails_as_well_is_the_seed_s_matter(listed, causes):
    seen = judgement(**causes)
    known = [(submission("w", fails=listed, caught_by=A, cause=WRONG), seen)]
    said = build_matrix("x", known, wide=frozenset({B})).complaints
    assert not [one for one in said if "w.py" in one]
    said = build_matrix("x", known).complaints
    assert bool([one for one in said if "w.py" in one]) == (len(listed) != len(causes))
