"""What can be seen in one step of a case: how far a reply was off, which exception came, a fault.

Takes: nothing. Gives: `Observation`s and `Fault`. Does not cover: verdicts (see `judge`).
"""

from dataclasses import dataclass

from grader.measure.compare import Comparison
from grader.sandbox.faults import FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a case could not go on.

    Attributes:
        kind: what happened.
        message: in the grader's own words; safe to show for a hidden case.
        detail: in the submission's words, such as the text of an exception. It may repeat hidden
            inputs, so a student reads it for public cases only.
        where: place in the student's source, "cell 3, line 2" or "kv_cache.py, line 41".
    """

    kind: FaultKind
    message: str
    detail: str = ""
    where: str = ""


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
