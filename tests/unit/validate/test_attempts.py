"""What a noisy machine leaves open is measured again, and nothing else is."""

from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import pytest

from grader.judge.judgement import Cause
from grader.measure.builder import Builder
from grader.measure.machine import TimedMachine
from grader.measure.measurement import Measurement
from grader.plan.assignment import Evidence
from grader.plan.plan import PlannedTarget
from grader.plan.target import Clock, Quantity, Tier
from grader.sandbox.pool import WallPool
from grader.validate import specimen_run
from grader.validate.quiet import Quiet
from grader.validate.specimen import load_specimens
from tests.unit.validate.course import make_course
from tests.unit.validate.test_matrix import judgement

MEASUREMENT = Measurement(sandbox="none", isolation="warm", layers=(), problems=(), wall_ns=1)


class AsItIs:
    """Builds nothing: the submission is Python."""

    def build(self, submission):
        return SimpleNamespace(submission=submission, faults=(), lacks="")


def attempts(tmp_path, monkeypatch, causes, *, metered=True):
    """Return how often targets are measured when their judgements are these, in turn."""
    course = make_course(tmp_path)
    left, measured = list(causes), []

    def judge(plan, whole):
        return judgement(a=left.pop(0) if whole.targets else Cause.NONE)

    def measure_targets(*args, **kwargs):
        measured.append(SimpleNamespace(metered=metered))
        return tuple(measured[-1:])

    monkeypatch.setattr(specimen_run, "measure", lambda *args, **kwargs: MEASUREMENT)
    monkeypatch.setattr(specimen_run, "measure_targets", measure_targets)
    monkeypatch.setattr(specimen_run, "judge", judge)
    monkeypatch.setattr(specimen_run, "sound_problems", lambda judged: frozenset())
    specimen_run.SpecimenRun(load_specimens(course)[1], place_for(course)).check().finish()
    return len(measured)


def place_for(course):
    return specimen_run.Workplace(
        course=course,
        walls=cast(WallPool, None),
        machine=TimedMachine(),
        builder=cast(Builder, AsItIs()),
        quiet=Quiet(1),
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


def test_only_times_keep_checks_from_beginning(tmp_path, monkeypatch):
    course = make_course(tmp_path)
    (problem,) = course.plan.problems
    kinds = (Quantity.TIME, Quantity.MEMORY)
    targets = tuple(target(kind) for kind in kinds)
    course = replace(
        course, plan=replace(course.plan, problems=(replace(problem, targets=targets),))
    )
    place = place_for(course)
    seen: dict[Quantity, bool] = {}

    def measure_targets(submission, wanted, sound, **others):
        found = [t for one in wanted.plan.problems for t in one.targets]
        seen.update((t.quantity, place.quiet._gate.locked()) for t in found)
        return tuple(SimpleNamespace(metered=True) for _ in found)

    monkeypatch.setattr(specimen_run, "measure", lambda *args, **kwargs: MEASUREMENT)
    monkeypatch.setattr(specimen_run, "measure_targets", measure_targets)
    monkeypatch.setattr(specimen_run, "judge", lambda plan, whole: judgement(a=Cause.NONE))
    monkeypatch.setattr(specimen_run, "sound_problems", lambda judged: frozenset({problem.name}))
    specimen_run.SpecimenRun(load_specimens(course)[1], place).check().finish()
    assert seen == {Quantity.TIME: True, Quantity.MEMORY: False}


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
