"""The noun of the measuring stage: numbers about one submission, all made on the judge's side.

Takes: nothing. Gives: `Measurement` and its parts. Does not cover: verdicts (see `judge`).
"""

from dataclasses import dataclass

from grader.evidence.faults import Fault, FaultKind
from grader.evidence.observations import (
    CaseMeasurement,
    ErrorObservation,
    Observation,
    ValueObservation,
)
from grader.evidence.samples import TargetMeasurement

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
class ProblemMeasurement:
    """All cases of one problem, in one child process (more only after a crash).

    Attributes:
        problem: name of the problem.
        cases: one per planned instance.
        output: stdout and stderr before the first hidden case, capped.
        hidden_output: the same from then on; it may repeat hidden inputs and stays with the staff.
        children: child processes that were forked for it.
        control_runs: of a problem that denies operators, what became without the denial of the
            first case of each check that raised. No point ever comes from these.
    """

    problem: str
    cases: tuple[CaseMeasurement, ...]
    output: str
    hidden_output: str
    children: int
    control_runs: tuple[CaseMeasurement, ...] = ()


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
