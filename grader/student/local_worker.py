"""A worker without a sandbox: the submission runs in this process, on a student's own machine.

`correctness.drive` runs cases in it. It protects nothing, so nothing measured here counts for a
grade.
"""

import time
import traceback
from collections.abc import Callable, Mapping
from typing import Any

import numpy
import torch

from grader.assignment.steps import Call, New, Ref, Value
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.runner.worker import MissingName, ObjectTable
from grader.student.trace import with_strides


class LocalWorker:
    """Runs requests in this process; arguments are cloned so that a case keeps its own.

    `locate` turns an exception into its location in the student's source, as the student knows it.
    """

    def __init__(
        self,
        submission: Mapping[str, Value],
        harness: Mapping[str, Value],
        *,
        locate: Callable[[BaseException], str] | None = None,
    ) -> None:
        self._table = ObjectTable(submission, harness)
        self._locate = locate or _locate
        self._last_arguments: list[torch.Tensor] = []
        self._wall_ns = 0

    @property
    def wall_ns(self) -> int:
        """Time spent in calls so far."""
        return self._wall_ns

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""
        args, kwargs = self._prepare(step.args, step.kwargs)
        self._run(lambda: self._table.new(ref.id, step.name, args, kwargs))

    def call(self, step: Call) -> Value:
        """Call a function or method; its arguments must come back unchanged."""
        args, kwargs = self._prepare(step.args, step.kwargs)
        before = [tensor.clone() for tensor in self._last_arguments]
        target = step.target.id if isinstance(step.target, Ref) else step.target
        reply = self._run(lambda: self._table.call(target, step.method, args, kwargs))
        for old, new in zip(before, self._last_arguments, strict=True):
            if not torch.equal(old.nan_to_num(), new.nan_to_num()):
                name = step.method or str(step.target)
                message = f"{name} changed one of its input tensors"
                raise Stopped(Fault(kind=FaultKind.INPUT_CHANGED, message=message))
        return _snapshot(reply)

    def drop(self, ref: Ref) -> None:
        """Forget an object."""
        self._table.drop(ref.id)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""
        for tensor in self._last_arguments:
            # Filling every entry once keeps expanded tensors, whose entries overlap, writable.
            entries = tuple(
                slice(0, 1) if stride == 0 else slice(None) for stride in tensor.stride()
            )
            tensor[entries].fill_(1 if tensor.dtype is torch.bool else 77)

    def reclaim_arguments(self) -> None:
        """Set the tensors passed to the last call to zero; their memory is not measured here."""
        for tensor in self._last_arguments:
            tensor.zero_()

    def _prepare(
        self, args: tuple[Value, ...], kwargs: dict[str, Value]
    ) -> tuple[list[Value], dict[str, Value]]:
        self._last_arguments = []
        return [self._into(a) for a in args], {k: self._into(v) for k, v in kwargs.items()}

    def _into(self, value: Value) -> Value:
        match value:
            case Ref():
                return self._table.object(value.id)
            case torch.Tensor():
                copy = with_strides(value, value.stride())  # clone would not keep them all
                self._last_arguments.append(copy)
                return copy
            case list() | tuple():
                return type(value)(self._into(item) for item in value)
            case dict():
                return {key: self._into(item) for key, item in value.items()}
            case _:
                return value

    def _run(self, request: Callable[[], Value]) -> Value:
        start_ns = time.perf_counter_ns()
        try:
            with numpy.errstate(all="ignore"):  # as in grading: interpreted kernels divide by 0
                return request()
        except MissingName as missing:
            message = "a name that the problem needs is not defined"
            fault = Fault(kind=FaultKind.MISSING, message=message, detail=str(missing))
            raise Stopped(fault) from None
        except Exception as error:
            names = tuple(kind.__name__ for kind in type(error).__mro__)
            raise Raised(names, str(error), self._locate(error)) from error
        finally:
            self._wall_ns += time.perf_counter_ns() - start_ns


def _locate(error: BaseException) -> str:
    """Return file and line of the innermost frame that is not the grader's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/grader/" not in f.filename]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}, line {frames[-1].lineno}" if frames else ""


def _snapshot(value: Any) -> Value:  # noqa: ANN401 - a reply of any type
    """Copy the tensors of a reply, as sending it would."""
    match value:
        case torch.Tensor():
            return value.detach().clone()
        case list() | tuple():
            return type(value)(_snapshot(item) for item in value)
        case dict():
            return {key: _snapshot(item) for key, item in value.items()}
        case _:
            return value
