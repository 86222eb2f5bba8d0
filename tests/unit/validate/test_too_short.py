"""Targets too short to be timed are complained of; those that were not measured are not."""

from dataclasses import replace

from grader.assignment.target import Quantity
from grader.evidence.faults import Fault, FaultKind
from grader.performance.measure.targets import _unmeasured
from grader.validate import validate as validating
from tests.unit.performance.synthetic import planned, raced
from tests.unit.validate.small_assignment import make_course


def test_what_could_not_be_measured_is_not_called_short(tmp_path, monkeypatch):
    loaded = make_course(tmp_path)
    (problem,) = loaded.plan.problems
    target = planned(Quantity.TIME)
    plan = replace(loaded.plan, problems=(replace(problem, targets=(target,)),))
    monkeypatch.setattr(validating, "too_short", lambda *_: True)
    fault = Fault(kind=FaultKind.INFRASTRUCTURE, message="the warm process is gone")
    lost = _unmeasured(problem, target, fault)
    raced_one = replace(raced(), problem=problem.name, target=target.name)
    found = validating._too_short(replace(loaded, plan=plan), (lost, raced_one))
    assert len(found) == 1
