"""What was measured of a target: raw samples of submission and reference, all made outside the box.

Takes: nothing. Gives: `TargetMeasurement` and its parts. Does not cover: what follows from them
(see `performance.decide.metrics`).
"""

from dataclasses import dataclass

from grader.evidence.device import Ceilings, DeviceState
from grader.evidence.faults import Fault
from grader.evidence.observations import CaseMeasurement, Observation
from grader.evidence.timeline import RankTimeline


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaim:
    """One call on a device: the judge's time, and what the box says that its events measured.

    Attributes:
        wall_ns: from the request to the judge's completed copy of the reply.
        events_ns: the claim, one number; none if what came was no time.
        transfer_bytes: of the block with the arguments, which the box maps on the clock.
    """

    wall_ns: int
    events_ns: tuple[int, ...]
    transfer_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCap:
    """How much of a device's memory the judge left to a box, and whether the run came to its end.

    Attributes:
        limit_bytes: that were left when the submission began; the judge held the rest.
        ratio: of the limit to the reference's peak in the same fork.
        sufficed: whether the run ended; else it ran out, or failed in another way.
    """

    limit_bytes: int
    ratio: float
    sufficed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """One run of a workload on one side.

    Attributes:
        wall_ns: from request to reply, summed over the calls, on the judge's clock.
        cpu_ns: processor time of everything in the box, over the whole run, gaps included.
        peak_bytes: most memory that the child had held by the end of the run; of a device whose
            memory is measured, the most that was missing from it at a reply.
        traffic_bytes: received on all interfaces of the child's network namespace during the run.
        calls: requests that got a reply.
        claims: on a device, one per call; none on the processor.
        states: on a device, how it ran just before the run, then over all its replies.
        caps: on a device whose memory is measured, what was left of it.
        rank_peak_bytes: of a group, the peak of each rank of its last world; `peak_bytes` is the
            largest of all worlds.
    """

    wall_ns: int
    cpu_ns: int
    peak_bytes: int
    traffic_bytes: int
    calls: int
    claims: tuple[DeviceClaim, ...] = ()
    states: tuple[DeviceState, ...] = ()
    caps: tuple[MemoryCap, ...] = ()
    rank_peak_bytes: tuple[int, ...] = ()

    @property
    def ended(self) -> bool:
        """Whether it came to its end; else it has no time."""
        return all(cap.sufficed for cap in self.caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSample:
    """Submission and reference, one after the other, on the same inputs.

    Attributes:
        size: what the workload was called with.
        submission_first: which side ran first.
        submission: the submission's run.
        reference: the reference's run.
        elapsed_ns: the whole pair on the judge's clock, oracles included.
        stolen_ns: processor time that the hypervisor took from this machine meanwhile.
        foreign_ns: processor time of everything but judge, submission and reference meanwhile.
    """

    size: int
    submission_first: bool
    submission: RunSample
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
        traffic_bytes: bytes that must cross the network; 0 if the author does not say.
        dtype: of the operations; empty if there are several, or the author does not say.
        derivation: where `traffic_bytes` comes from, in the author's words.
    """

    size: int
    bytes_moved: int
    flops: int
    traffic_bytes: int
    dtype: str = ""
    derivation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyCalls:
    """What a call costs that does nothing, in a child of the judge's own.

    Attributes:
        wall_ns: one sample per call.
        cpu_ns: processor time in the box, one sample per block of `block` calls.
        block: calls per block.
        transfer_bytes: of the block with the arguments that each call lends, on a device.
        traffic_bytes: of a group that exchanges nothing, what it put on the wire all the same, over
            all calls: `wall_ns` has one sample for each.
    """

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    block: int
    transfer_bytes: int = 0
    traffic_bytes: int = 0


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
        transfers: on a device, the cost of calls that do nothing and lend memory, by its size.
        ceilings: what the device can do at most; none if that was not measured.
        faults: empty, or the fault of the submission that ended the measurement.
        reference_faults: the same of the reference: the author's, or ours.
        control_runs: of a problem that denies operators, the run that ended in a fault, once more
            without the denial. No point ever comes from it.
        timelines: of ranks whose time was measured, what each says it did in a further run, which
            no point depends on either; else none.
        network_rate: bytes per second that the wire of ranks was held to; 0 for no limit.
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
    transfers: tuple[EmptyCalls, ...] = ()
    ceilings: tuple[Ceilings, ...] = ()
    control_runs: tuple[CaseMeasurement, ...] = ()
    timelines: tuple[RankTimeline, ...] = ()
    network_rate: int = 0

    def net_traffic_bytes(self, run: RunSample) -> float:
        """Return what a run put on the wire, without what its group says with nothing to say."""
        return run.traffic_bytes - run.calls * self.empty.traffic_bytes / max(
            len(self.empty.wall_ns), 1
        )

    def empty_for(self, transfer_bytes: int) -> EmptyCalls:
        """Return what a call costs that does nothing but lend so much; never less, if it is known.

        The cost of a mapping grows with its size, so the next larger one that was measured counts.
        """
        known = (self.empty, *self.transfers)
        return next((empty for empty in known if empty.transfer_bytes >= transfer_bytes), known[-1])
