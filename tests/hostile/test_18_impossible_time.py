"""Attack 18: a time that no machine can reach.

Whoever finds out that the secret matrices are diagonal does none of the work that was asked for,
and is faster than the processor multiplies: no points before a human has looked."""

from dataclasses import replace

import pytest

from grader.device.ceiling_measurement import find_setting, measure_ceilings
from grader.device.ceilings import Ceilings
from grader.judge.judgement import Verdict
from grader.measure.machine import TimedMachine
from grader.plan.course import Course
from grader.sandbox.pool import WallPool
from tests.hostile.race import Race, race
from tests.hostile.unhurried import HONEST

SHORT_CUT = """
def power(x):
    return torch.diag(x.diagonal() ** (PRODUCTS + 1))
"""

ALMOST = """
multiplied = power

def power(x):
    return multiplied(x) if len(x) > 16 else torch.diag(x.diagonal() ** (PRODUCTS + 1))
"""


@pytest.fixture(scope="module")
def ceilings() -> Ceilings:
    return measure_ceilings(find_setting("cpu"))


def _race(source: str, course: Course, walls: WallPool, ceilings: Ceilings) -> Race:
    machine = TimedMachine(ceilings=(ceilings,))
    return race(source, course, walls, "roofline", machine=machine)


def test_a_time_below_the_floor_is_held(
    pace_target: Course, pace_walls: WallPool, ceilings: Ceilings
) -> None:
    found = _race(HONEST + SHORT_CUT, pace_target, pace_walls, ceilings)
    held = found.check("roofline")
    assert held.verdict is Verdict.HELD, held.summary
    (evidence,) = held.pace[0].broken
    assert "below the roofline floor" in evidence
    assert found.judgement.score == 1  # for the check
    assert found.judgement.held_points == held.max_points


def test_a_ceiling_is_what_holds_it(
    pace_target: Course, pace_walls: WallPool, ceilings: Ceilings
) -> None:
    rates = tuple(replace(rate, flops_per_s=rate.flops_per_s * 1e6) for rate in ceilings.matmul)
    unbounded = replace(ceilings, matmul=rates)
    found = _race(HONEST + SHORT_CUT, pace_target, pace_walls, unbounded)
    assert found.check("roofline").verdict is Verdict.PASS


def test_who_multiplies_is_not_held(
    pace_target: Course, pace_walls: WallPool, ceilings: Ceilings
) -> None:
    found = _race(HONEST + ALMOST, pace_target, pace_walls, ceilings)
    assert found.check("roofline").verdict is Verdict.PASS, found.check("roofline").summary
