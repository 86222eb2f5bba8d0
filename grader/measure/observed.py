"""What can be seen of one case: how far a reply was off, which exception came, a fault.

Takes: nothing. Gives: `Observation`s, `Fault`, `CaseMeasurement`. Does not cover: verdicts
(see `judge`).
"""

from dataclasses import dataclass

from grader.measure.compare import Comparison
from grader.sandbox.faults import FaultKind


@dataclass(frozen=True, slots=True, kw_only=True)
class RankStack:
    """Where one rank stood when its group came to no end.

    Attributes:
        rank: its number.
        state: what had become of it, in the grader's own words.
        where: place in the student's source; empty if its stack names none.
        text: its stack in its own words, capped; it may repeat hidden inputs, as `Fault.detail`.
    """

    rank: int
    state: str
    where: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Why a case could not go on.

    Attributes:
        kind: what happened.
        message: in the grader's own words; safe to show for a hidden case.
        detail: in the submission's words, such as the text of an exception. It may repeat hidden
            inputs, so a student reads it for public cases only.
        where: place in the student's source, "cell 3, line 2" or "kv_cache.py, line 41".
        stacks: of a group that came to no end, one per rank; else none.
    """

    kind: FaultKind
    message: str
    detail: str = ""
    where: str = ""
    stacks: tuple[RankStack, ...] = ()


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
