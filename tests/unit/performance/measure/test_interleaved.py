"""Interleaved runs: their order, whose fault a failure is, and when the samples are enough."""

from dataclasses import replace

import pytest

from grader.assignment.steps import Call
from grader.assignment.target import Quantity
from grader.errors import SandboxError
from grader.evidence.faults import Fault, FaultKind, Stopped
from grader.performance.measure.interleaved import TURNS
from tests.unit.performance.measure.fake_session import raised
from tests.unit.performance.measure.race import SIDES, Race
from tests.unit.performance.synthetic import planned


@pytest.fixture
def race(monkeypatch):
    return Race(monkeypatch)


def test_each_side_runs_its_own_code_in_a_new_worker_per_fork(race):
    measured = race.run(stages=(3,))
    assert len(measured.forks) == 3
    assert (
        race.opened
        == [
            ("submission", "# of the student\n"),
            ("reference", "# of the author\n"),
        ]
        * 3
    )


def test_turns_alternate_and_the_next_fork_begins_the_other_way_round(race):
    measured = race.run(stages=(2,))
    assert [[p.submission_first for p in fork.pairs] for fork in measured.forks] == [
        [True, False, True, False],
        [False, True, False, True],
    ]
    first_of_pairs = [side for side, _ in race.calls()][::2]
    assert first_of_pairs == [
        SIDES[not p.submission_first] for fork in measured.forks for p in fork.pairs
    ]


def test_both_sides_get_the_same_inputs_and_every_pair_new_ones(race):
    race.run(stages=(2,))
    inputs = [args for _, args in race.calls()]
    pairs = list(zip(inputs[::2], inputs[1::2], strict=True))
    assert all(one == other for one, other in pairs)
    assert len({one for one, _ in pairs}) == len(pairs) == 2 * TURNS[Quantity.TIME]


def test_every_fork_runs_every_size(race):
    sizes = (2, 4, 8)
    measured = race.run(target=planned(Quantity.GROWTH, sizes=sizes))
    assert [[p.size for p in fork.pairs] for fork in measured.forks] == [[2, 4, 8]] * 2
    assert [(w.size, w.flops) for w in measured.work] == [(2, 2), (4, 4), (8, 8)]


def test_objects_of_one_run_are_gone_in_the_next(race):
    race.run(stages=(1,))
    for side in SIDES.values():
        kinds = [what if what == "end" else "call" for s, what in race.log if s == side]
        assert kinds[1:] == ["call", "end"] * TURNS[Quantity.TIME]


def test_stages_stop_as_soon_as_the_samples_are_enough(race):
    asked = []

    def enough(measured):
        asked.append(len(measured.forks))
        return len(asked) == 2

    measured = race.run(stages=(4, 8, 12), enough=enough)
    assert asked == [4, 8]
    assert len(measured.forks) == 8


def test_the_last_stage_ends_the_measurement(race):
    assert len(race.run(stages=(1, 2)).forks) == 2


def crash():
    return Stopped(Fault(kind=FaultKind.CRASH, message="it ended"))


@pytest.mark.parametrize("error", [raised(), crash()], ids=["raised", "crashed"])
def test_a_fault_of_the_submission_is_its_own(race, error):
    race.replies[0] = lambda step: error
    measured = race.run()
    assert (len(measured.faults), measured.reference_faults, measured.forks) == (1, (), ())
    assert measured.faults[0].kind in (FaultKind.EXCEPTION, FaultKind.CRASH)


def test_what_raised_is_run_once_more_with_public_inputs(race):
    race.replies[0] = lambda step: raised()
    (again,) = race.run().public_runs
    assert again.public
    assert again.faults[0].detail == "ValueError: of its own"
    (side, hidden), (also, public) = race.calls()
    assert (side, also) == ("submission", "submission")
    assert hidden != public


def test_what_crashed_has_no_text_to_show(race):
    race.replies[0] = lambda step: crash()
    assert race.run().public_runs == ()


@pytest.mark.parametrize("error", [raised(), crash()], ids=["raised", "crashed"])
def test_a_fault_of_the_reference_is_the_authors(race, error):
    race.replies[1] = lambda step: error
    measured = race.run()
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.AUTHOR]
    assert "the reference itself" in measured.reference_faults[0].message


@pytest.mark.parametrize("side", [0, 1])
def test_a_fault_of_ours_is_never_the_students(race, side):
    ours = Stopped(Fault(kind=FaultKind.INFRASTRUCTURE, message="no room"))
    race.replies[side] = lambda step: ours
    measured = race.run()
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.INFRASTRUCTURE]


@pytest.mark.parametrize("side", [0, 1])
def test_a_worker_that_cannot_start_is_our_fault(race, side):
    race.open_errors[side] = SandboxError("no worker", hint="make room")
    measured = race.run()
    (fault,) = measured.reference_faults
    assert (fault.kind, measured.faults) == (FaultKind.INFRASTRUCTURE, ())
    assert "make room" in fault.message


def test_a_workload_that_fails_is_the_authors_on_either_side(race):
    def broken(draw, size):
        yield Call("f", 1)
        raise KeyError("of the author")

    measured = race.run(make=broken)
    assert measured.faults == ()
    assert [fault.kind for fault in measured.reference_faults] == [FaultKind.AUTHOR]


@pytest.mark.parametrize(("side", "ours"), [(0, False), (1, True)])
def test_an_import_that_fails_ends_it_before_anything_runs(race, side, ours):
    race.load_errors[side] = raised("ImportError")
    measured = race.run()
    assert (bool(measured.faults), bool(measured.reference_faults)) == (not ours, ours)
    assert race.calls() == []


def test_nothing_runs_after_a_fault(race):
    replies = iter([1, 2, raised()])
    race.replies[0] = lambda step: next(replies)
    measured = race.run(stages=(5,), make=lambda draw, size: (Call("f", n) for n in [0]))
    assert len(measured.faults) == 1
    assert measured.forks == ()  # an incomplete fork is not a sample
    assert [side for side, _ in race.opened] == ["submission", "reference", "submission"]
    assert len(measured.public_runs) == 1  # no sample, but a text to show


def test_of_thousands_of_replies_the_worst_are_kept(race):
    race.replies[0] = lambda step: step.args[0] + 1
    race.replies[1] = lambda step: step.args[0] + 1
    measured = race.run(stages=(3,))
    (seen,) = measured.observations
    assert seen.label == "same"
    assert len(measured.forks) == 3


@pytest.mark.parametrize("side", [0, 1])
def test_only_the_submissions_replies_are_judged(race, side):
    race.replies[side] = lambda step: -1
    measured = race.run()
    (seen,) = measured.observations
    assert (seen.comparison.mismatch == "none") == (side == 1)


@pytest.mark.parametrize("side", [0, 1])
def test_one_side_without_counters_leaves_both_without(race, side):
    race.metered[side] = False
    assert not race.run().metered


def test_samples_hold_what_each_side_used(race, monkeypatch):
    measured = race.run(stages=(1,))
    one = measured.forks[0].pairs[0]
    assert one.submission == replace(one.reference, peak_bytes=one.submission.peak_bytes)
    assert (one.submission.calls, one.submission.wall_ns, one.submission.cpu_ns) == (1, 1000, 2000)
    assert one.elapsed_ns > 0
