"""The noun of the measuring stage: numbers about one submission, all made on the judge's side.

Takes: nothing. Gives: `Measurement` and its parts. Does not cover: verdicts (see `judge`).
"""

from dataclasses import dataclass

from grader.measure.observed import ErrorObservation, Fault, Observation, ValueObservation
from grader.measure.samples import TargetMeasurement
from grader.sandbox.faults import FaultKind

__all__ = [
    "CaseMeasurement",
    "ErrorObservation",
    "Fault",
    "FaultKind",
    "Measurement",
    "Observation",
    "ProblemMeasurement",
    "TargetMeasurement",
    "ValueObservation",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMeasurement:
    """One instance of a case.

    Attributes:
        check: name of the check it belongs to.
        index: number of the instance among those of its visibility.
        public: whether students may see its inputs and expected values.
        observations: in the order in which they were made.
        faults: empty, or the one fault that ended the case.
        calls: requests that got a reply.
        wall_ns: from request to reply, summed over the calls, on the judge's clock.
    """

    check: str
    index: int
    public: bool
    observations: tuple[Observation, ...]
    faults: tuple[Fault, ...]
    calls: int
    wall_ns: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ProblemMeasurement:
    """All cases of one problem, in one child process (more only after a crash).

    Attributes:
        problem: name of the problem.
        cases: one per planned instance.
        output: stdout and stderr before the first hidden case, capped.
        hidden_output: the same from then on; it may repeat hidden inputs and stays with the staff.
        children: child processes that were forked for it.
    """

    problem: str
    cases: tuple[CaseMeasurement, ...]
    output: str
    hidden_output: str
    children: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurement:
    """One run of one submission.

    Attributes:
        sandbox: name of the outer wall.
        isolation: `warm` or `strict`.
        layers: what stood between the submission and the judge, outermost first.
        problems: in the plan's order.
        wall_ns: the whole run, on the judge's clock.
        targets: of problems whose every check passed, in the plan's order.
    """

    sandbox: str
    isolation: str
    layers: tuple[str, ...]
    problems: tuple[ProblemMeasurement, ...]
    wall_ns: int
    targets: tuple[TargetMeasurement, ...] = ()
