"""Whole gradings, as in a course, of submissions 10 % from the target.

Replayed series are far more numerous, see `benchmarks.verdicts.replay`; these show that the whole
pipeline agrees with them, and how long a verdict takes.
"""

import itertools
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.verdicts.cells import FAR, Cell, Scale
from benchmarks.verdicts.ending import Verdict, verdict_of
from benchmarks.verdicts.known_work import target_of
from benchmarks.verdicts.neighbour import Neighbour, neighbour
from benchmarks.verdicts.patterns import Slowness, submission_of
from grader.assignment.loaded import LoadedAssignment
from grader.correctness.run import measure
from grader.errors import SandboxError
from grader.judge.judge import judge, judge_checks, sound_problems
from grader.performance.decide.metrics import decide
from grader.performance.measure.targets import measure_targets
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine


@dataclass(frozen=True, slots=True, kw_only=True)
class LiveVerdict:
    """The verdict on one graded submission.

    Attributes:
        cell: its slowness, and what else ran.
        verdict: the result.
        ratio: of its time to the reference's, as estimated.
        forks: measured until it was decided.
        wall_s: checks, oracles, forks, runs and judgement, on the grader's clock.
    """

    cell: Cell
    verdict: Verdict
    ratio: float
    forks: int
    wall_s: float

    @property
    def is_wrong(self) -> bool:
        """Whether it passes a submission over the target, or fails one under it."""
        return self.verdict.is_wrong(over=self.cell.slowness.factor > 1)


def confirm(
    sandboxes: SandboxPool, loaded: LoadedAssignment, scale: Scale, *, on_step: Callable[[], None]
) -> tuple[LiveVerdict, ...]:
    """Grade submissions 10 % from the target, of every pattern, with and without a neighbour.

    Raises:
        SandboxError: if one could not be measured.
    """
    found: list[LiveVerdict] = []
    for kind in Neighbour:
        with neighbour(kind):
            for _, factor, pattern in itertools.product(range(scale.live), FAR, scale.patterns):
                slowness = Slowness(factor=factor, pattern=pattern)
                found.append(_grade(sandboxes, loaded, Cell(slowness=slowness, neighbour=kind)))
                on_step()
    return tuple(found)


def _grade(sandboxes: SandboxPool, loaded: LoadedAssignment, cell: Cell) -> LiveVerdict:
    submission, target = submission_of(cell.slowness), target_of(loaded)
    begin = time.perf_counter()
    measurement = measure(submission, loaded, sandboxes=sandboxes, machine=TimedMachine())
    sound = sound_problems(judge_checks(loaded.plan, measurement))
    measured = measure_targets(
        submission, loaded, sound, sandboxes=sandboxes, machine=TimedMachine()
    )
    graded = judge(loaded.plan, replace(measurement, targets=measured)).checks[-1]
    wall_s = time.perf_counter() - begin
    if not graded.finding:
        raise SandboxError(f"a submission of known work was not measured: {graded.summary}")
    decision = decide(target, target.tiers[0], measured[0])
    return LiveVerdict(
        cell=cell,
        verdict=verdict_of(decision),
        ratio=math.exp(decision.metrics[0].interval.estimate),
        forks=len(measured[0].forks),
        wall_s=wall_s,
    )
