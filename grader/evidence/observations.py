"""What can be seen of one case: how far a reply was off, which exception came, a fault.

Takes: nothing. Gives: `Observation`s, `Fault`, `CaseMeasurement`. Does not cover: verdicts
(see `judge`).
"""

from dataclasses import dataclass

from grader.evidence.comparison import Comparison
from grader.evidence.faults import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueObservation:
    """One `Expect`: how far a reply was from the oracle."""

    label: str
    comparison: Comparison


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorObservation:
    """One `Raises`: which exception a step that must refuse raised.

    Attributes:
        label: what was asked for.
        expected: class name of the exception that the docstring promises.
        got: Python's own class name of the exception that came; empty if the step returned.
        text: class and text as the submission gave them.
        matches: whether `expected` is among the classes of the exception that came.
    """

    label: str
    expected: str
    got: str
    text: str
    matches: bool


Observation = ValueObservation | ErrorObservation


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
