"""Carries one case through a box, step by step, and keeps what was seen.

Takes: a case generator and a `Box`. Gives: a `CaseMeasurement`. Does not cover: how requests reach
the submission (see `measure.session` for the sandbox, `runner.objects` for a student's machine).

The oracle of an `Expect` is computed here, after the reply, and never leaves this side.
"""

import builtins
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from grader.author.steps import (
    Call,
    CaseSteps,
    Drop,
    Expect,
    New,
    OverwriteArguments,
    Raises,
    ReclaimArguments,
    Ref,
    Value,
    WorkloadStep,
    WorkloadSteps,
)
from grader.errors import DeviceError, SandboxError
from grader.measure.compare import Mismatch, compare_parts
from grader.measure.measurement import (
    CaseMeasurement,
    ErrorObservation,
    Fault,
    FaultKind,
    Observation,
    ValueObservation,
)

AnySteps = CaseSteps | WorkloadSteps

_BUILTIN_EXCEPTIONS = frozenset(
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
)


class Raised(Exception):
    """The submission raised: the class names (most derived first) and text that came back.

    Attributes:
        names: class names along the method resolution order.
        text: text of the exception, capped.
        where: place in the student's source.
    """

    def __init__(self, names: tuple[str, ...], text: str, where: str) -> None:
        super().__init__(f"{names[0]}: {text}")
        self.names = names
        self.text = text
        self.where = where


class Stopped(Exception):
    """The case cannot go on."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.message)
        self.fault = fault


UNUSABLE = frozenset({Mismatch.KIND, Mismatch.DTYPE, Mismatch.SHAPE})
"""Mismatches after which a case cannot go on: an author may index what was compared before."""


class _Unusable(Exception):  # ends a case whose last reply has another form than expected
    pass


class Box(Protocol):
    """Where a submission runs.

    Every method raises `Raised` when the submission raised, `Stopped` when the case must end.
    """

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""

    def call(self, step: Call) -> Value:
        """Call a function or method and return its reply."""

    def drop(self, ref: Ref) -> None:
        """Forget an object."""

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""

    def reclaim_arguments(self) -> None:
        """Take the memory of the tensors passed to the last call back."""

    @property
    def wall_ns(self) -> int:
        """Time from request to reply of all calls so far, on the judge's clock."""


@dataclass(slots=True)
class _Progress:
    observations: list[Observation] = field(default_factory=list)
    refs: int = 0
    calls: int = 0


def drive(steps: AnySteps, box: Box, *, check: str, index: int, public: bool) -> CaseMeasurement:
    """Run one case to its end or to the first fault.

    Args:
        steps: a fresh case generator.
        box: where the submission runs.
        check: name of the check the case belongs to.
        index: number of the instance.
        public: whether students may see its content.
    """
    progress = _Progress()
    before_ns = box.wall_ns
    faults: tuple[Fault, ...] = ()
    try:
        _exhaust(steps, box, progress)
    except _Unusable:
        pass  # the observation says it all; later steps may rely on the reply's form
    except Raised as raised:
        faults = (fault_of(raised),)
    except Stopped as stopped:
        faults = (stopped.fault,)
    except (SandboxError, DeviceError) as error:
        message = f"{error}. {error.hint}".strip()
        faults = (Fault(kind=FaultKind.INFRASTRUCTURE, message=message),)
    except Exception as error:  # noqa: BLE001 - cases.py and oracles are authors' code; their failure is named as theirs
        message = f"{check}: the case itself failed: {type(error).__name__}: {error}"
        faults = (Fault(kind=FaultKind.AUTHOR, message=message),)
    finally:
        steps.close()
    return CaseMeasurement(
        check=check,
        index=index,
        public=public,
        observations=tuple(progress.observations),
        faults=faults,
        calls=progress.calls,
        wall_ns=box.wall_ns - before_ns,
    )


def _exhaust(steps: AnySteps, box: Box, progress: _Progress) -> None:
    reply: Value = None
    while True:
        try:
            step = steps.send(reply)
        except StopIteration:
            return
        reply = _carry_out(step, box, progress)


def _carry_out(step: WorkloadStep, box: Box, progress: _Progress) -> Value:
    match step:
        case Expect():
            want = step.want() if isinstance(step.want, Callable) else step.want  # type: ignore[arg-type]
            parts = compare_parts(step.got, want, exact=step.exact, per_row=step.per_row)
            progress.observations.extend(
                ValueObservation(label=step.label, comparison=part) for part in parts
            )
            if any(part.mismatch in UNUSABLE for part in parts):
                raise _Unusable
            return None
        case Raises():
            return _expect_error(step, box, progress)
        case New() | Call():
            return _request(step, box, progress)
        case Drop():
            box.drop(step.ref)
        case OverwriteArguments():
            box.overwrite_arguments()
        case ReclaimArguments():
            box.reclaim_arguments()
    return None


def _request(step: New | Call, box: Box, progress: _Progress) -> Value:
    progress.calls += 1
    if isinstance(step, Call):
        return box.call(step)
    ref = Ref(progress.refs)
    progress.refs += 1
    box.new(ref, step)
    return ref


def _expect_error(step: Raises, box: Box, progress: _Progress) -> str:
    got, text, matches = "", "", False
    try:
        _request(step.step, box, progress)
    except Raised as raised:
        got, text, matches = public_name(raised.names), str(raised), step.error in raised.names
        if "NotImplementedError" in raised.names and step.error != "NotImplementedError":
            raise  # an untouched stub is missing work, not a wrong error
    progress.observations.append(
        ErrorObservation(label=step.label, expected=step.error, got=got, text=text, matches=matches)
    )
    return text


def fault_of(raised: Raised) -> Fault:
    """Name the fault of an exception that no step asked for."""
    if "NotImplementedError" in raised.names:
        kind, message = FaultKind.MISSING, "not implemented yet"
    elif "MemoryError" in raised.names:
        kind, message = FaultKind.OUT_OF_MEMORY, "memory ran out"
    else:
        kind, message = FaultKind.EXCEPTION, f"{public_name(raised.names)} was raised"
    return Fault(kind=kind, message=message, detail=str(raised), where=raised.where)


def public_name(names: tuple[str, ...]) -> str:
    """Return the first class name that is Python's own: a name the submission made may say more."""
    return next((name for name in names if name in _BUILTIN_EXCEPTIONS), "an exception")
