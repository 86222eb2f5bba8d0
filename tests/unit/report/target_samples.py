"""Sample records with performance targets: every outcome that a target can have.

The measurements are made up; the judge judges them as real ones.
"""

import random
from dataclasses import replace

from grader.assignment.plan import Plan, PlannedProblem, PlannedTarget
from grader.assignment.table import Evidence
from grader.assignment.target import Clock, Quantity, Tier
from grader.evidence.measurement import Measurement
from grader.evidence.samples import (
    EmptyCalls,
    ForkSample,
    PairSample,
    RunSample,
    SizeWork,
    TargetMeasurement,
)
from grader.evidence.timeline import Collective, RankTimeline, Span
from grader.judge.judgement import Cause, CheckJudgement, Judgement, Status, Verdict
from grader.judge.targets import judge_target
from grader.record.grade_record import GradeRecord
from tests.unit.performance.measure.ceiling_samples import CEILINGS
from tests.unit.report import samples
from tests.unit.report.sample_plan import make_plan

MS = 1_000_000
MIB = 1 << 20
CALLS = 10
EMPTY_NS = 100_000
GROWTH_SIZES = (64, 256, 1024)


def make_target(name: str, quantity: Quantity = Quantity.TIME, **special: object) -> PlannedTarget:
    """Return a planned target of ten points with tiers 1.7 and 1.15 (of growth 0.4 and 0.15)."""
    growth = quantity is Quantity.GROWTH
    tier = (
        Tier(pass_at=0.4, full_at=0.15, ratio_at_most=10.0)
        if growth
        else Tier(pass_at=1.7, full_at=1.15)
    )
    target = PlannedTarget(
        name=name,
        title=f"The target {name}",
        description="Tokens arrive one by one.",
        points=10.0,
        quantity=quantity,
        clock=Clock.CPU,
        tiers=(tier,),
        sizes=GROWTH_SIZES if growth else (1024,),
        tolerance={},
        evidence=Evidence.OUTSIDE,
        devices=("cpu",),
    )
    return replace(target, **special)  # type: ignore[arg-type]


def make_measured(
    target: PlannedTarget,
    ratio: float = 1.0,
    *,
    forks: int = 4,
    spread: float = 0.004,
    power: float = 0.0,
    stolen: int = 0,
) -> TargetMeasurement:
    """Return samples of a submission `ratio` times the reference, by `power` of the size beyond.

    Args:
        target: what is measured.
        ratio: of time and memory, at the largest size.
        forks: of both sides.
        spread: standard deviation of either side between forks, as a share.
        power: of the size by which the submission grows faster.
        stolen: pairs of the first fork that the hypervisor disturbed.
    """
    noise = random.Random(f"{target.name} {ratio}")
    turns = 4 if target.quantity is Quantity.TIME else 1
    made: list[ForkSample] = []
    for _ in range(forks):
        sides = (noise.gauss(1, spread) * ratio, noise.gauss(1, spread))
        pairs = [
            _pair(size, sides[0] * (size / target.sizes[-1]) ** power, sides[1], len(made) % 2 == 0)
            for _ in range(turns)
            for size in target.sizes
        ]
        made.append(ForkSample(pairs=tuple(pairs)))
    traffic_bytes = 32 * MIB if target.quantity is Quantity.TRAFFIC else 0
    first = [
        replace(pair, stolen_ns=pair.elapsed_ns // 5) if number < stolen else pair
        for number, pair in enumerate(made[0].pairs)
    ]
    return TargetMeasurement(
        problem="",
        target=target.name,
        forks=(ForkSample(pairs=tuple(first)), *made[1:]),
        work=tuple(
            SizeWork(size=size, bytes_moved=0, flops=0, traffic_bytes=traffic_bytes)
            for size in target.sizes
        ),
        empty=EmptyCalls(wall_ns=(EMPTY_NS,) * 40, cpu_ns=(EMPTY_NS,) * 40, block=1),
        metered=True,
        cores=2,
        observations=(),
        faults=(),
        reference_faults=(),
    )


def _pair(size: int, submission: float, reference: float, first: bool) -> PairSample:
    """Return a pair; the reference takes 40 ms and 64 MiB, and sends 32 MiB, at size 1024."""
    runs = [
        RunSample(
            wall_ns=round(41 * MS * size / 1024 * share) + CALLS * EMPTY_NS,
            cpu_ns=round(40 * MS * size / 1024 * share) + CALLS * EMPTY_NS,
            peak_bytes=round(64 * MIB * share),
            traffic_bytes=round(32 * MIB * share),
            calls=CALLS,
        )
        for share in (submission, reference)
    ]
    return PairSample(
        size=size,
        submission_first=first,
        submission=runs[0],
        reference=runs[1],
        elapsed_ns=sum(run.wall_ns for run in runs) + 30 * MS,
        stolen_ns=0,
        foreign_ns=0,
    )


def with_timelines(measured: TargetMeasurement) -> TargetMeasurement:
    """Return the samples with two ranks that send gradients while their backward pass runs."""
    return replace(measured, timelines=tuple(_timeline(rank * 3 * MS) for rank in range(2)))


def _timeline(late_ns: int) -> RankTimeline:
    gradients_ns = tuple(late_ns + 20 * MS * number for number in range(1, 13))
    return RankTimeline(
        collectives=tuple(
            Collective(
                name="all_reduce",
                nbytes=MIB,
                launch_ns=ns,
                return_ns=ns + MS // 2,
                end_ns=(ns + (number + 1) * 21 * MS,),
            )
            for number, ns in enumerate(gradients_ns)
        ),
        gradients_ns=gradients_ns,
        backward=(Span(begin_ns=late_ns, end_ns=gradients_ns[-1] + MS),),
        left_out=0,
    )


def with_roofline(measured: TargetMeasurement, floor_ms: float) -> TargetMeasurement:
    """Return the samples with work that takes at least `floor_ms`."""
    moved = round(CEILINGS.bytes_per_s * floor_ms / 1e3)
    work = tuple(replace(one, bytes_moved=moved) for one in measured.work)
    return replace(measured, work=work, ceilings=(CEILINGS,))


GROWTH = make_target("growth", Quantity.GROWTH)
FAST = make_target("fast")
PARTLY = make_target("partly")
SLOW = make_target("slow")
WAITING = make_target("waiting", clock=Clock.WALL)
MEMORY = make_target("memory", Quantity.MEMORY)
TRAFFIC = make_target("traffic", Quantity.TRAFFIC)
NEEDS_REVIEW = make_target("implausible", clock=Clock.WALL)
NOISY = make_target("noisy")
NO_DEVICE = make_target("no_device", tiers=(), devices=("cuda:*", "cuda:h200"))
BLOCKED = make_target("blocked")
QUADRATIC = make_target("quadratic", Quantity.GROWTH)

TARGETS = {
    "KVCache": (GROWTH, QUADRATIC, PARTLY, FAST, SLOW, MEMORY),
    "decode_attention": (NEEDS_REVIEW, NOISY, NO_DEVICE, TRAFFIC),
    "SlotCache": (BLOCKED,),
}


def make_measurements() -> dict[str, TargetMeasurement]:
    """Return the samples of every target that was measured, by name."""
    made = (
        make_measured(GROWTH, 1.1, power=0.02, forks=18, spread=0.02),
        make_measured(QUADRATIC, 16.0, power=1.0, forks=3, spread=0.02),
        with_roofline(make_measured(PARTLY, 1.42, stolen=4, forks=24, spread=0.02), 12.0),
        with_timelines(make_measured(FAST, 0.9)),
        make_measured(SLOW, 3.1),
        make_measured(MEMORY, 1.6, forks=3, spread=0.0005),
        with_roofline(make_measured(NEEDS_REVIEW, 0.04), 30.0),
        make_measured(NOISY, 1.5, forks=24, spread=0.4),
        make_measured(TRAFFIC, 1.05, forks=3),
    )
    return {one.target: one for one in made}


def make_target_plan() -> Plan:
    """Return the sample plan with targets in every problem."""
    plan = make_plan()
    problems = tuple(replace(p, targets=TARGETS[p.name]) for p in plan.problems)
    return replace(plan, problems=problems)


def make_target_record(name: str = "hopper") -> GradeRecord:
    """Return a record with every outcome that a target can have."""
    plan, measured = make_target_plan(), make_measurements()
    measurements = tuple(
        replace(measured[target.name], problem=problem.name)
        for problem in plan.problems
        for target in problem.targets
        if target.name in measured
    )
    judged = tuple(c for problem in plan.problems for c in _judge(problem, measured))
    return replace(
        samples.make_record(name, measurement=_measure(measurements)),
        plan=plan,
        judgement=Judgement(
            status=Status.NEEDS_REVIEW,
            score=sum(check.points for check in judged),
            max_score=plan.points,
            ungraded_points=sum(c.max_points for c in judged if c.verdict is Verdict.UNGRADED),
            review_points=sum(c.max_points for c in judged if c.verdict is Verdict.NEEDS_REVIEW),
            checks=judged,
        ),
    )


def _measure(measurements: tuple[TargetMeasurement, ...]) -> Measurement:
    return replace(samples.make_measurement(), targets=measurements)


def _judge(problem: PlannedProblem, measured: dict[str, TargetMeasurement]) -> list[CheckJudgement]:
    """Judge a problem whose checks passed, but for the last problem's."""
    failing = problem.name == "SlotCache"
    outcome = (Verdict.FAIL, Cause.WRONG_VALUE) if failing else (Verdict.PASS, Cause.NONE)
    checks = [samples.make_check(problem.name, check.name, *outcome) for check in problem.checks]
    targets = [
        judge_target(problem, target, checks, [measured[target.name]])
        if target.name in measured
        else judge_target(problem, target, checks, [])
        for target in problem.targets
    ]
    return [*checks, *targets]
