"""Why cases are not run: a process that ended too often, a check that has hung, no device.

Takes: what was seen of the cases before. Gives: `Fault`s for those that are left. Does not cover:
running them (see `measure.run`).
"""

from collections.abc import Sequence

from grader.measure.drive import Raised, Stopped, fault_of
from grader.measure.measurement import CaseMeasurement, Fault, FaultKind
from grader.measure.session import Session
from grader.plan.plan import PlannedProblem

HUNG_BEFORE = Fault(
    kind=FaultKind.TIMEOUT, message="not run: another case of this check came to no end"
)
"""Of the cases that follow in a check: each could take the whole limit again."""


def has_hung(done: Sequence[CaseMeasurement], check: str) -> bool:
    """Return whether a case of a check came to no end."""
    faults = (fault for case in done if case.check == check for fault in case.faults)
    return any(fault.kind is FaultKind.TIMEOUT for fault in faults)


def ended_too_often(
    problem: PlannedProblem, done: Sequence[CaseMeasurement], *, times: int
) -> Fault:
    """Say why cases were left over after the last child ended."""
    last = next((case.faults[0] for case in reversed(done) if case.faults), None)
    kind = last.kind if last else FaultKind.CRASH
    return Fault(
        kind=kind, message=f"not run: {problem.name} had already ended its process {times} times"
    )


def without_device(session: Session, exports: Sequence[str]) -> Fault:
    """Say what a loaded library lacks, or that nothing else can be known of it here."""
    for name in exports:
        try:
            session.ask("find", {"names": [name]})
        except Stopped as stopped:
            missing = stopped.fault.kind is FaultKind.MISSING
            message = f"the launcher {name} is not defined" if missing else stopped.fault.message
            return Fault(kind=stopped.fault.kind, message=message)
        except Raised as raised:
            return fault_of(raised)
    message = "compiled; running it needs a CUDA device, which this machine does not have"
    return Fault(kind=FaultKind.NO_DEVICE, message=message)
