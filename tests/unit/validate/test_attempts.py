"""What a noisy machine leaves open is measured again, and nothing else is."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from grader.assignment.plan import Plan, PlannedTarget
from grader.assignment.table import Evidence
from grader.assignment.target import Clock, Quantity, Tier
from grader.cuda_cpp.builder import Builder
from grader.evidence.measurement import Measurement
from grader.judge.judgement import Cause
from grader.sandbox.pool import SandboxPool
from grader.validate import known_run
from grader.validate.known_submission import load_known_submissions
from grader.worker.machine import TimedMachine
from tests.unit.validate.small_assignment import make_course
from tests.unit.validate.test_kill_matrix import judgement

MEASUREMENT = Measurement(sandbox="none", isolation="warm", layers=(), problems=(), wall_ns=1)


class AsItIs:
    """Builds nothing: the submission is Python."""

    def build(self, submission):
        return SimpleNamespace(submission=submission, faults=(), lacks="")


def attempts(tmp_path, monkeypatch, causes, *, metered=True):
    """Return how often targets are measured when their judgements are these, in turn."""
    left, measured = list(causes), []

    def judge(plan, whole):
        return judgement(a=left.pop(0) if whole.targets else Cause.NONE)

    def measure_targets(*args, **kwargs):
        measured.append(SimpleNamespace(metered=metered))
        return tuple(measured[-1:])

    run = run_of(tmp_path, monkeypatch, (Quantity.MEMORY,), measure_targets)
    monkeypatch.setattr(known_run, "judge", judge)
    run.count()
    assert run.measured.measurement.targets == tuple(measured[-1:])
    return len(measured)


def run_of(tmp_path, monkeypatch, quantities, measure_targets):
    """Return the run of a solution to one problem with these targets."""
    loaded = make_course(tmp_path)
    (problem,) = loaded.plan.problems
    targets = tuple(target(quantity) for quantity in quantities)
    plan = replace(loaded.plan, problems=(replace(problem, targets=targets),))
    monkeypatch.setattr(known_run, "measure", lambda *args, **kwargs: MEASUREMENT)
    monkeypatch.setattr(known_run, "measure_targets", measure_targets)
    monkeypatch.setattr(known_run, "judge", lambda plan, whole: judgement(a=Cause.NONE))
    monkeypatch.setattr(known_run, "sound_problems", lambda judged: frozenset({problem.name}))
    place = place_for(replace(loaded, plan=plan))
    return known_run.KnownRun(load_known_submissions(loaded)[1], place)


def place_for(loaded):
    return known_run.ValidationTools(
        loaded=loaded,
        sandboxes=cast(SandboxPool, None),
        machine=TimedMachine(),
        builder=cast(Builder, AsItIs()),
    )


@pytest.mark.parametrize(
    ("causes", "count"),
    [
        ([Cause.NONE], 1),
        ([Cause.TOO_SLOW], 1),
        ([Cause.NO_DEVICE], 1),
        ([Cause.INFRASTRUCTURE, Cause.TOO_SLOW], 2),
        ([Cause.INFRASTRUCTURE] * 3, 3),
    ],
)
def test_only_what_is_open_is_measured_again(tmp_path, monkeypatch, causes, count):
    assert attempts(tmp_path, monkeypatch, causes) == count


def test_what_nothing_meters_is_not_measured_again(tmp_path, monkeypatch):
    assert attempts(tmp_path, monkeypatch, [Cause.INFRASTRUCTURE], metered=False) == 1


def test_what_is_counted_is_measured_before_what_is_timed(tmp_path, monkeypatch):
    kinds: list[list[Quantity]] = []

    def measure_targets(submission, wanted, sound, **others):
        found = [t.quantity for one in wanted.plan.problems for t in one.targets]
        kinds.append(found)
        return tuple(SimpleNamespace(metered=True, quantity=quantity) for quantity in found)

    run = run_of(tmp_path, monkeypatch, tuple(Quantity), measure_targets)
    assert run.count().is_timed
    assert kinds == [[Quantity.MEMORY, Quantity.TRAFFIC]]
    run.time()
    assert kinds[1:] == [[Quantity.TIME, Quantity.GROWTH]]
    assert [t.quantity for t in run.measured.measurement.targets] == [*kinds[0], *kinds[1]]


def test_nothing_is_timed_where_nothing_asks_for_it(tmp_path, monkeypatch):
    run = run_of(tmp_path, monkeypatch, (Quantity.MEMORY,), lambda *_, **__: ())
    assert not run.count().is_timed


def target(quantity):
    return PlannedTarget(
        name=quantity.value,
        title="",
        description="",
        points=1.0,
        quantity=quantity,
        clock=Clock.WALL,
        tiers=(cast(Tier, None),),
        sizes=(1,),
        tolerance={},
        evidence=Evidence.OUTSIDE,
        devices=(),
    )


@pytest.mark.parametrize(
    ("cause", "cases", "stops"),
    [
        (Cause.WRONG_VALUE, 0, True),
        (Cause.TOO_MUCH_MEMORY, 0, False),
        (Cause.TIMEOUT, 3, True),
    ],
)
def test_a_solution_that_is_wrong_in_a_target_stops_all_but_a_slow_one_does_not(
    monkeypatch, cause, cases, stops
):
    whole = judgement(a=cause)
    checks = tuple(replace(one, cases=cases) for one in whole.checks)
    monkeypatch.setattr(known_run, "judge", lambda plan, seen: replace(whole, checks=checks))
    assert bool(known_run.failures(cast(Plan, None), MEASUREMENT)) is stops
