"""What a noisy machine leaves open is measured again, and nothing else is."""

from types import SimpleNamespace
from typing import cast

import pytest

from grader.judge.judgement import Cause
from grader.measure.builder import Builder
from grader.measure.machine import TimedMachine
from grader.measure.measurement import Measurement
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
    builder = cast(Builder, AsItIs())
    place = specimen_run.Workplace(
        course=course,
        walls=cast(WallPool, None),
        machine=TimedMachine(),
        builder=builder,
        quiet=Quiet(1),
    )
    specimen_run.SpecimenRun(load_specimens(course)[1], place).check().finish()
    return len(measured)


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
