"""Attack 18: a time that no machine can reach.

A submission that finds out that the secret matrices are diagonal skips the work that was asked for,
and is faster than the processor can multiply: it gets no points before a person has reviewed it."""

from dataclasses import replace

import pytest

from grader.assignment.loaded import LoadedAssignment
from grader.evidence.device import Ceilings
from grader.judge.judgement import Verdict
from grader.performance.measure.ceilings import find_setting, measure_ceilings
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine
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


def _race(
    source: str, loaded: LoadedAssignment, sandboxes: SandboxPool, ceilings: Ceilings
) -> Race:
    machine = TimedMachine(ceilings=(ceilings,))
    return race(source, loaded, sandboxes, "roofline", machine=machine)


def test_a_time_below_the_floor_needs_review(
    speed_target: LoadedAssignment, speed_sandboxes: SandboxPool, ceilings: Ceilings
) -> None:
    found = _race(HONEST + SHORT_CUT, speed_target, speed_sandboxes, ceilings)
    roofline = found.check("roofline")
    assert roofline.verdict is Verdict.NEEDS_REVIEW, roofline.summary
    (evidence,) = roofline.finding[0].broken
    assert "below the roofline floor" in evidence
    assert found.judgement.score == 1  # for the check
    assert found.judgement.review_points == roofline.max_points


def test_without_the_ceiling_it_passes(
    speed_target: LoadedAssignment, speed_sandboxes: SandboxPool, ceilings: Ceilings
) -> None:
    rates = tuple(replace(rate, flops_per_s=rate.flops_per_s * 1e6) for rate in ceilings.matmul)
    unbounded = replace(ceilings, matmul=rates)
    found = _race(HONEST + SHORT_CUT, speed_target, speed_sandboxes, unbounded)
    assert found.check("roofline").verdict is Verdict.PASS


def test_a_submission_that_multiplies_needs_no_review(
    speed_target: LoadedAssignment, speed_sandboxes: SandboxPool, ceilings: Ceilings
) -> None:
    found = _race(HONEST + ALMOST, speed_target, speed_sandboxes, ceilings)
    assert found.check("roofline").verdict is Verdict.PASS, found.check("roofline").summary
