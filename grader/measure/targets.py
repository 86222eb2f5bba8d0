"""Measures the targets of a submission, as long as it takes to decide each.

Takes: a submission, a course, the problems whose checks have passed, walls. Gives:
`TargetMeasurement`s. Does not cover: how one is measured (see `measure.pace`).
"""

from contextlib import nullcontext
from dataclasses import replace

from grader.errors import DeviceError, SandboxError
from grader.intake.submission import Submission
from grader.measure.figures import RULES, decide
from grader.measure.machine import TimedMachine
from grader.measure.observed import Fault
from grader.measure.pace import PaceMeasurer
from grader.measure.processors import cores
from grader.measure.recorded import record_ranks
from grader.measure.room import ROOM_LOOKS
from grader.measure.room_pace import RoomMeasurer
from grader.measure.samples import EmptyCalls, TargetMeasurement
from grader.plan.course import Course
from grader.plan.plan import PlannedProblem, PlannedTarget
from grader.plan.target import Quantity
from grader.sandbox.faults import FaultKind
from grader.sandbox.pool import WallPool
from grader.sandbox.wall import Wall
from grader.statistics.verdict import Outcome

_Way = tuple[bool, bool]  # by the room that is left; where everything else computes


def measure_targets(
    submission: Submission,
    course: Course,
    sound: frozenset[str],
    *,
    walls: WallPool,
    machine: TimedMachine,
) -> tuple[TargetMeasurement, ...]:
    """Measure every target that this device can measure, of the problems named in `sound`.

    No other run on this machine times anything meanwhile, unless all of these are only counted. A
    wall that cannot be had is our failure: every target says so.
    """
    wanted = [
        (problem, target)
        for problem in course.plan.problems
        for target in problem.targets
        if target.tiers and problem.name in sound
    ]
    if not wanted:
        return ()
    try:
        alone = nullcontext() if _all_counted(wanted, machine) else machine.alone()
        with alone, walls.borrow_pair() as pair:
            measured = _measure_all(pair, submission, course, machine, wanted)
    except (SandboxError, DeviceError) as error:
        message = f"{error}. {error.hint}".strip()
        fault = Fault(kind=FaultKind.INFRASTRUCTURE, message=message)
        return tuple(_unmeasured(*one, fault) for one in wanted)
    return tuple(measured)


def _all_counted(wanted: list[tuple[PlannedProblem, PlannedTarget]], machine: TimedMachine) -> bool:
    """Return whether nothing is timed; on a device memory is what others leave."""
    return all(
        target.quantity.is_counted and not machine.seen_by(problem.ranks).drivers
        for problem, target in wanted
    )


def _measure_all(
    walls: tuple[Wall, Wall],
    submission: Submission,
    course: Course,
    machine: TimedMachine,
    wanted: list[tuple[PlannedProblem, PlannedTarget]],
) -> list[TargetMeasurement]:
    """Measure one target after the other; memory of a device in its own way, by the room left."""
    by_ways: dict[_Way, PaceMeasurer] = {}
    measured = []
    for problem, target in wanted:
        seen_by = machine.seen_by(problem.ranks)
        by_room = target.quantity is Quantity.MEMORY and bool(seen_by.drivers)
        way = by_room, seen_by is machine
        if way not in by_ways:
            kind = RoomMeasurer if by_room else PaceMeasurer
            by_ways[way] = kind(walls, submission, course, seen_by)
        # Ranks beside a GPU need the processor to themselves as well.
        quiet = seen_by is machine or target.quantity.is_counted
        with nullcontext() if quiet else seen_by.alone():
            one = _measure(by_ways[way], problem, target)
        measured.append(replace(one, ceilings=seen_by.ceilings))
    return [
        replace(
            seen,
            timelines=record_ranks(walls[0], submission, course, *one, wire_rate=seen.wire_rate),
        )
        if one[0].ranks and one[1].quantity is Quantity.TIME and seen.forks
        else seen
        for seen, one in zip(measured, wanted, strict=True)
    ]


def _measure(
    measurer: PaceMeasurer, problem: PlannedProblem, target: PlannedTarget
) -> TargetMeasurement:
    def enough(measured: TargetMeasurement) -> bool:
        decision = decide(target, target.tiers[0], measured)
        return decision.unmetered or decision.outcome is not Outcome.OPEN

    by_room = isinstance(measurer, RoomMeasurer)
    looks = ROOM_LOOKS if by_room else RULES[target.quantity].looks
    return measurer.target(problem, target, looks=looks, enough=enough)


def _unmeasured(problem: PlannedProblem, target: PlannedTarget, fault: Fault) -> TargetMeasurement:
    return TargetMeasurement(
        problem=problem.name,
        target=target.name,
        forks=(),
        work=(),
        empty=EmptyCalls(wall_ns=(), cpu_ns=(), block=1),
        metered=False,
        cores=cores(),
        observations=(),
        faults=(),
        reference_faults=(fault,),
    )
