"""What a run prints: how long the rest takes, and each reason for no score once."""

from dataclasses import replace

from grader.commands.class_run import Remaining, reasons
from grader.judge.judgement import Cause, Status, Verdict
from tests.unit.report import samples


def test_the_time_left_is_the_mean_so_far_times_the_rest() -> None:
    remaining = Remaining(count=5, each_s=600.0, _began_s=0.0)
    assert remaining.text == "about 50 min left"
    remaining.note(resumed=True, now_s=10.0)
    assert remaining.text == "about 40 min left"
    remaining.note(resumed=False, now_s=70.0)
    assert (remaining.each_s, remaining.text) == (60.0, "about 3 min left")
    remaining.note(resumed=False, now_s=310.0)
    assert (remaining.each_s, remaining.text) == (150.0, "about 5 min left")
    for _ in range(2):
        remaining.note(resumed=False, now_s=310.0)
    assert remaining.text == ""


def test_a_reason_that_all_share_is_told_once() -> None:
    outcomes = ((Verdict.UNGRADED, Cause.INFRASTRUCTURE),) * 6
    judgement = samples.make_judgement(*outcomes, status=Status.UNGRADED)
    class_ = [samples.make_record(f"s{number:02}", judgement=judgement) for number in range(12)]
    rejected = samples.make_rejected_record()
    twice = replace(rejected, submission=replace(rejected.submission, name="tor"))
    shared, message = reasons([*class_, rejected, twice, samples.make_record("fine")])
    assert shared.startswith("s00, s01, s02, s03, s04, s05, s06, s07, s08, s09 and 2 more: not")
    assert message.startswith("zuse, tor: rejected: expected a Python module or a notebook")
