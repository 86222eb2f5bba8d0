"""What is observed of one case: how far replies are off, which exceptions came, a fault."""

from dataclasses import dataclass

from grader.evidence.comparison import Comparison
from grader.evidence.faults import Fault


@dataclass(frozen=True, slots=True, kw_only=True)
class ValueObservation:
    """The outcome of one `Expect`: how far a reply is from the oracle's value.

    Attributes:
        dtypes: of the tensors that the last call before it got; kept where it is not equal.
    """

    label: str
    comparison: Comparison
    dtypes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorObservation:
    """The outcome of one `Raises`: which exception came, if any.

    Attributes:
        label: what was called.
        expected: class name of the exception that the docstring promises.
        got: built-in class of the exception that came; empty if the step returned.
        text: class and text of the exception, in the submission's words.
        matches: whether `expected` is among the classes of that exception.
        dtypes: of the tensors that the call got; kept where it does not match.
    """

    label: str
    expected: str
    got: str
    text: str
    matches: bool
    dtypes: tuple[str, ...] = ()


Observation = ValueObservation | ErrorObservation


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMeasurement:
    """The measurement of one instance of a case.

    Attributes:
        index: number among the instances of its visibility.
        public: whether students may see its inputs and expected values.
        observations: in the order in which they were made.
        faults: empty, or the one fault that ended the case.
        calls: requests that got a reply.
        wall_ns: from request to reply, summed over the calls, on the judge's clock.
        dtypes: of the tensors that the last call got, if a fault ended the case.
    """

    check: str
    index: int
    public: bool
    observations: tuple[Observation, ...]
    faults: tuple[Fault, ...]
    calls: int
    wall_ns: int
    dtypes: tuple[str, ...] = ()
