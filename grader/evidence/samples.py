"""Samples: the raw measurements of one target, of submission and reference.

Everything is measured outside the sandboxed processes, except `DeviceClaim.events_ns`, which a
sandboxed process claims. `performance.decide.metrics` turns samples into metrics.
"""

from dataclasses import dataclass

from grader.evidence.device import Ceilings, DeviceState
from grader.evidence.faults import Fault
from grader.evidence.observations import CaseMeasurement, Observation
from grader.evidence.timeline import RankTimeline


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaim:
    """One call on a device: the judge's time, and the worker's claim of its CUDA events' time.

    Attributes:
        wall_ns: from the request to the judge's completed copy of the reply.
        events_ns: the claim, one number; empty if the worker sent no valid time.
        transfer_bytes: size of the memory block with the arguments; mapping it takes time, too.
    """

    wall_ns: int
    events_ns: tuple[int, ...]
    transfer_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryCap:
    """How much device memory the judge left to a worker, and whether that was enough.

    Attributes:
        limit_bytes: free bytes when the submission began; the judge had reserved the rest.
        ratio: the limit divided by the reference's peak in the same fork.
        sufficed: whether the run finished; else it ran out of memory, or failed in another way.
    """

    limit_bytes: int
    ratio: float
    sufficed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSample:
    """One run of a workload on one side.

    Attributes:
        wall_ns: from request to reply, summed over the calls, on the judge's clock.
        cpu_ns: CPU time of all processes of the worker over the whole run, gaps between calls
            included.
        peak_bytes: the worker's peak memory from its start to the end of the run; for a memory
            target on a device, the most device memory in use at any reply.
        traffic_bytes: bytes received on all interfaces of the worker's network namespace.
        calls: requests that got a reply.
        claims: on a device, one per call; empty on the CPU.
        states: on a device, its state just before the run, then over all replies.
        caps: for a memory target on a device, the memory cap of the run.
        rank_peak_bytes: with ranks, the peak of each rank of the last world; `peak_bytes` is the
            largest of all worlds.
        ran_ns: the part of `cpu_ns` that threads used which were there at the run's end.
        queued_ns: time that those threads were ready and waited for a processor, summed; None if
            it was not read.
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
    ran_ns: int = 0
    queued_ns: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the run finished; else it has no time."""
        return all(cap.sufficed for cap in self.caps)


@dataclass(frozen=True, slots=True, kw_only=True)
class PairSample:
    """Submission and reference, one after the other, on the same inputs.

    Attributes:
        size: what the workload was called with.
        elapsed_ns: the whole pair on the judge's clock, oracles included.
        stolen_ns: CPU time that the hypervisor took from this machine meanwhile (steal time).
        foreign_ns: CPU time of all other processes on this machine meanwhile.
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
    """All pairs of one fork: one fresh process for each side."""

    pairs: tuple[PairSample, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeWork:
    """The least work of a workload of one size, by its author's arithmetic; 0 where none is given.

    Attributes:
        size: what the workload was called with.
        bytes_moved: bytes of memory traffic.
        traffic_bytes: bytes that must cross the network.
        dtype: dtype of the operations; empty if there are several, or the author does not say.
        derivation: how `traffic_bytes` is derived, in the author's words.
    """

    size: int
    bytes_moved: int
    flops: int
    traffic_bytes: int
    dtype: str = ""
    derivation: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmptyCalls:
    """The cost of null calls, which do nothing, in a worker with the judge's own code.

    Attributes:
        wall_ns: one sample per call.
        cpu_ns: CPU time of the worker, one sample per block of `block` calls.
        block: calls per block.
        transfer_bytes: on a device, size of the memory block that each call transfers.
        traffic_bytes: network traffic of ranks that exchange nothing, summed over all calls;
            `wall_ns` has one sample per call.
    """

    wall_ns: tuple[int, ...]
    cpu_ns: tuple[int, ...]
    block: int
    transfer_bytes: int = 0
    traffic_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetMeasurement:
    """Everything measured of one target.

    Attributes:
        forks: in the order in which they ran.
        work: the least work by size; empty if no run finished.
        metered: whether cgroups counted CPU time and memory.
        cores: CPUs that this machine gives to the judge and the workers.
        observations: the worst comparison of each label, dtype and verdict, over all runs.
        transfers: on a device, the cost of null calls that transfer memory, by its size.
        ceilings: the device's ceilings; empty if they were not measured.
        faults: empty, or the submission's fault that ended the measurement.
        reference_faults: empty, or a fault of the reference: the author's, or ours.
        control_runs: of a problem that denies operators, the run that ended in a fault, run once
            more without the denial. It never gives points.
        public_runs: the run that ended in an exception, run once more with inputs from the public
            seed: what it raises there can be shown. It never gives points either.
        timelines: of ranks whose time was measured, what each claims of a further run; they never
            give points either.
        network_rate: limit of the network between ranks, in bytes per second; 0 for no limit.
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
    public_runs: tuple[CaseMeasurement, ...] = ()
    timelines: tuple[RankTimeline, ...] = ()
    network_rate: int = 0

    def net_traffic_bytes(self, run: RunSample) -> float:
        """Return the network traffic of a run without that of as many null calls."""
        return run.traffic_bytes - run.calls * self.empty.traffic_bytes / max(
            len(self.empty.wall_ns), 1
        )

    def empty_for(self, transfer_bytes: int) -> EmptyCalls:
        """Return the cost of null calls that transfer at least so many bytes, or the most measured.

        The cost of mapping memory grows with its size, so the next larger size is used.
        """
        known = (self.empty, *self.transfers)
        return next((empty for empty in known if empty.transfer_bytes >= transfer_bytes), known[-1])
