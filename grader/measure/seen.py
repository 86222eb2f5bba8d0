"""What was seen of a target so far, and whose fault it is that there is no more.

Takes: samples, observations and faults as they come. Gives: `Seen`, `Side`, `blame`, `our_fault`.
Does not cover: the order in which they come (see `measure.pace`).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from grader.author.declare import Workload
from grader.errors import DeviceError, SandboxError
from grader.measure.observed import CaseMeasurement, Fault, Observation, ValueObservation
from grader.measure.processors import cores
from grader.measure.ranks import AnySession
from grader.measure.samples import EmptyCalls, ForkSample, PairSample, SizeWork, TargetMeasurement
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.faults import FaultKind


@dataclass(slots=True)
class Seen:
    """A target on its way.

    Attributes:
        denial: what both sides are denied.
        ranks: largest world that both sides may start; 0 for boxes of their own.
        wire_rate: bytes per second that their wire is held to; 0 for no limit.
        world: size of the one that was measured last.
        undenied: the run of the submission without it, if it failed under it.
        last: size and number of the draw of the last run.
    """

    denial: Denial = NO_DENIAL
    ranks: int = 0
    wire_rate: int = 0
    world: int = 0
    forks: list[ForkSample] = field(default_factory=list)
    pairs: list[PairSample] = field(default_factory=list)
    work: dict[int, SizeWork] = field(default_factory=dict)
    observations: dict[tuple[str, ...], Observation] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)
    reference_faults: list[Fault] = field(default_factory=list)
    metered: bool = True
    undenied: tuple[CaseMeasurement, ...] = ()
    last: tuple[int, int] = (0, 0)

    @property
    def stopped(self) -> bool:
        """Whether a fault has ended it."""
        return bool(self.faults or self.reference_faults)

    def compare(self, observations: Sequence[Observation]) -> None:
        """Keep the worst comparison of each kind: thousands of replies are compared."""
        for one in observations:
            key: tuple[str, ...]
            if isinstance(one, ValueObservation):
                key = (one.label, one.comparison.dtype, one.comparison.mismatch)
                before = self.observations.get(key)
                if isinstance(before, ValueObservation) and not (
                    one.comparison.error > before.comparison.error
                ):
                    continue
            else:
                key = (one.label, one.got)
            self.observations[key] = one

    def measured(self, workload: Workload, empty: EmptyCalls) -> TargetMeasurement:
        """Return all of it as a measurement of `workload`'s target.

        Args:
            workload: what ran.
            empty: what a call costs that does nothing.
        """
        return TargetMeasurement(
            problem=workload.problem,
            target=workload.target,
            forks=tuple(self.forks),
            work=tuple(self.work[size] for size in sorted(self.work)),
            empty=empty,
            metered=self.metered,
            cores=cores(),
            observations=tuple(self.observations.values()),
            faults=tuple(self.faults),
            reference_faults=tuple(self.reference_faults),
            undenied=self.undenied,
            wire_rate=self.wire_rate,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two boxes of a fork."""

    session: AnySession
    is_subject: bool


def blame(side: Side, seen: Seen, fault: Fault) -> None:
    """Put a fault where it belongs: what the reference does wrong is never a student's."""
    ours = (FaultKind.INFRASTRUCTURE, FaultKind.AUTHOR)
    if side.is_subject and fault.kind not in ours:
        seen.faults.append(fault)
    elif fault.kind in ours:
        seen.reference_faults.append(fault)
    else:
        message = f"the reference itself failed: {fault.message} {fault.detail}".strip()
        seen.reference_faults.append(Fault(kind=FaultKind.AUTHOR, message=message))


def our_fault(error: SandboxError | DeviceError) -> Fault:
    """Return the fault of a machine that refused; never a student's."""
    return Fault(kind=FaultKind.INFRASTRUCTURE, message=f"{error}. {error.hint}".strip())
