"""What was measured of a target: raw samples of submission and reference, all made outside the box.

Takes: nothing. Gives: `TargetMeasurement` and its parts. Does not cover: what follows from them
(see `measure.figures`).
"""

from dataclasses import dataclass

from grader.device.ceilings import Ceilings
from grader.measure.observed import CaseMeasurement, Fault, Observation


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaim:
    """One call on a device: the judge's time, and what the box says that its events measured.

    Attributes:
        wall_ns: from the request to the judge's completed copy of the reply.
        events_ns: the claim, one number; none if what came was no time.
    """

    wall_ns: int
    events_ns: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """One run of a workload on one side.

    Attributes:
        wall_ns: from request to reply, summed over the calls, on the judge's clock.
        cpu_ns: processor time of everything in the box, over the whole run, gaps included.
        peak_bytes: most memory that the child had held by the end of the run.
        wire_bytes: received on all interfaces of the child's network namespace during the run.
        calls: requests that got a reply.
        claims: on a device, one per call; none on the processor.
    """

    wall_ns: int
    cpu_ns: int
    peak_bytes: int
    wire_bytes: int
    calls: int
    claims: tuple[DeviceClaim, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSample:
    """Submission and reference, one after the other, on the same inputs.

    Attributes:
        size: what the workload was called with.
        subject_first: which side ran first.
        subject: the submission's run.
        reference: the reference's run.
        elapsed_ns: the whole pair on the judge's clock, oracles included.
        stolen_ns: processor time that the hypervisor took from this machine meanwhile.
        foreign_ns: processor time of everything but judge, submission and reference meanwhile.
    """

    size: int
    subject_first: bool
    subject: RunSample
    reference: RunSample
    elapsed_ns: int
    stolen_ns: int
    foreign_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForkSample:
    """All pairs of one fresh process on each side."""

    pairs: tuple[PairSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeWork:
    """What a workload of one size needs at the least, by its author's arithmetic.

    Attributes:
        size: what the workload was called with.
        bytes_moved: bytes of memory traffic; 0 if the author does not say.
        flops: floating-point operations; 0 if the author does not say.
        wire_bytes: bytes that must cross the network; 0 if the author does not say.
    """

    size: int
    bytes_moved: int
    flops: int
    wire_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyCalls:
    """What a call costs that does nothing, in a child of the judge's own.

    Attributes:
        wall_ns: one sample per call.
        cpu_ns: processor time in the box, one sample per block of `block` calls.
        block: calls per block.
    """

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    block: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMeasurement:
    """Everything seen of one target.

    Attributes:
        problem: name of the problem.
        target: name of the target.
        forks: in the order in which they ran.
        work: by size; empty if no run came to its end.
        empty: the cost of a call that does nothing.
        metered: whether control groups counted processor time and memory.
        cores: processors that this machine gives to the judge and the boxes.
        observations: the worst comparison of each label, dtype and verdict, over all runs.
        ceilings: what the device can do at most; none if that was not measured.
        faults: empty, or the fault of the submission that ended the measurement.
        reference_faults: the same of the reference: the author's, or ours.
        undenied: of a problem that denies operators, the run that ended in a fault, once more
            without the denial. No point ever comes from it.
    """

    problem: str
    target: str
    forks: tuple[ForkSample, ...]
    work: tuple[SizeWork, ...]
    empty: EmptyCalls
    metered: bool
    cores: int
    observations: tuple[Observation, ...]
    faults: tuple[Fault, ...]
    reference_faults: tuple[Fault, ...]
    ceilings: tuple[Ceilings, ...] = ()
    undenied: tuple[CaseMeasurement, ...] = ()
