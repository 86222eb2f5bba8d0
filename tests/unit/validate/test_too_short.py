"""Targets too short to be timed are complained of; those that were not measured are not."""

from dataclasses import replace

from grader.measure.observed import Fault
from grader.measure.targets import _unmeasured
from grader.plan.target import Quantity
from grader.sandbox.faults import FaultKind
from grader.validate import prove
from tests.unit.measure.synthetic import planned, raced
from tests.unit.validate.course import make_course


def test_what_could_not_be_measured_is_not_called_short(tmp_path, monkeypatch):
    course = make_course(tmp_path)
    (problem,) = course.plan.problems
    target = planned(Quantity.TIME)
    plan = replace(course.plan, problems=(replace(problem, targets=(target,)),))
    monkeypatch.setattr(prove, "too_short", lambda *_: True)
    fault = Fault(kind=FaultKind.INFRASTRUCTURE, message="the warm process is gone")
    lost = _unmeasured(problem, target, fault)
    raced_one = replace(raced(), problem=problem.name, target=target.name)
    found = prove._too_short(replace(course, plan=plan), (lost, raced_one))
    assert len(found) == 1
