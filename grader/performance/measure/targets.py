"""Measures the targets of a submission; each one until its samples decide it.

Input: a submission, the loaded assignment, the problems whose checks have all passed, and a pool of
sandboxes. Output: one `TargetMeasurement` per target. Not covered: how one target is measured
(`performance.measure.interleaved`, and `performance.measure.memory_search` for device memory).
"""

from contextlib import nullcontext
from dataclasses import replace
from functools import partial

from grader.assignment.loaded import LoadedAssignment
from grader.assignment.plan import PlannedProblem, PlannedTarget
from grader.assignment.target import Quantity
from grader.errors import DeviceError, SandboxError
from grader.evidence.faults import Fault, our_fault
from grader.evidence.samples import EmptyCalls, TargetMeasurement
from grader.intake.submission import Submission
from grader.performance.decide.memory_cap import MEMORY_STAGES
from grader.performance.decide.metrics import RULES, decide
from grader.performance.decide.sequential_test import Outcome
from grader.performance.measure.interleaved import TargetMeasurer
from grader.performance.measure.memory_search import MemorySearch
from grader.performance.measure.phase import record_ranks
from grader.sandbox.pool import SandboxPool
from grader.sandbox.processors import cores
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine


def measure_targets(
    submission: Submission,
    loaded: LoadedAssignment,
    sound: frozenset[str],
    *,
    sandboxes: SandboxPool,
    machine: TimedMachine,
) -> tuple[TargetMeasurement, ...]:
    """Measure every target that this device can measure, of the problems named in `sound`.

    Unless all targets only count something (memory or traffic), no other run on this machine is
    timed meanwhile. If no sandbox can be started, every measurement carries that fault, as ours.
    """
    wanted = [
        (problem, target)
        for problem in loaded.plan.problems
        for target in problem.targets
        if target.tiers and problem.name in sound
    ]
    if not wanted:
        return ()
    try:
        alone = nullcontext() if _all_counted(wanted, machine) else machine.alone()
        with alone, sandboxes.borrow_pair() as pair:
            measured = _measure_all(pair, submission, loaded, machine, wanted)
    except (SandboxError, DeviceError) as error:
        return tuple(_unmeasured(*one, our_fault(error)) for one in wanted)
    return tuple(measured)


def _all_counted(wanted: list[tuple[PlannedProblem, PlannedTarget]], machine: TimedMachine) -> bool:
    """Return whether other runs cannot disturb any target.

    That holds for counts of memory and traffic on the processor; a device's memory is shared.
    """
    return all(
        target.quantity.is_counted and not machine.seen_by(problem.ranks).drivers
        for problem, target in wanted
    )


def _measure_all(
    sandboxes: tuple[Sandbox, Sandbox],
    submission: Submission,
    loaded: LoadedAssignment,
    machine: TimedMachine,
    wanted: list[tuple[PlannedProblem, PlannedTarget]],
) -> list[TargetMeasurement]:
    """Measure one target after the other; memory of a device by searching for a memory cap."""
    # By whether memory caps are searched, and whether the problem sees the machine's device.
    measurers: dict[tuple[bool, bool], TargetMeasurer] = {}
    measured = []
    for problem, target in wanted:
        seen_by = machine.seen_by(problem.ranks)
        by_memory_cap = target.quantity is Quantity.MEMORY and bool(seen_by.drivers)
        key = by_memory_cap, seen_by is machine
        if key not in measurers:
            kind = MemorySearch if by_memory_cap else TargetMeasurer
            measurers[key] = kind(sandboxes, submission, loaded, seen_by)
        # Ranks beside a GPU compute on the processor, so they need it to themselves as well.
        quiet = seen_by is machine or target.quantity.is_counted
        stages = MEMORY_STAGES if by_memory_cap else RULES[target.quantity].stages
        enough = partial(_is_decided, target)
        with nullcontext() if quiet else seen_by.alone():
            one = measurers[key].target(problem, target, stages=stages, enough=enough)
        measured.append(replace(one, ceilings=seen_by.ceilings))
    return [
        replace(
            found,
            timelines=record_ranks(
                sandboxes[0], submission, loaded, *one, network_rate=found.network_rate
            ),
        )
        if one[0].ranks and one[1].quantity is Quantity.TIME and found.forks
        else found
        for found, one in zip(measured, wanted, strict=True)
    ]


def _is_decided(target: PlannedTarget, measured: TargetMeasurement) -> bool:
    decision = decide(target, target.tiers[0], measured)
    return decision.unmetered or decision.outcome is not Outcome.OPEN


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
