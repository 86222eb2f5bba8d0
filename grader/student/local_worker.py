"""A worker without a sandbox: the submission runs in this process, on a student's own machine.

`correctness.drive` runs cases in it. It protects nothing, so nothing measured here counts for a
grade.
"""

import ctypes
import time
import traceback
from collections.abc import Callable, Mapping, Sequence

import numpy
import torch

from grader.assignment.steps import Call, New, Ref, Value
from grader.evidence.faults import (
    Fault,
    FaultKind,
    LoadFailure,
    Raised,
    Stopped,
    explain_raised,
    fault_of_missing,
)
from grader.runner.protocol import plain_number
from grader.runner.worker import MissingName, ObjectTable
from grader.student.trace import map_leaves, overwrite, with_strides


class LocalWorker:
    """Runs requests in this process; arguments are cloned so that a case keeps its own.

    `locate` turns an exception into its location in the student's source, as the student knows it;
    `failures` are the statements of the submission that raised when it was loaded.
    """

    def __init__(
        self,
        submission: Mapping[str, Value],
        harness: Mapping[str, Value],
        *,
        locate: Callable[[BaseException], str] | None = None,
        failures: Sequence[LoadFailure] = (),
    ) -> None:
        self._table = ObjectTable(submission, harness)
        self._locate = locate or _locate
        self._failures = failures
        self._last_arguments: list[torch.Tensor] = []
        self.wall_ns = 0

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""
        args, kwargs = self._prepare(step)
        self._run(lambda: self._table.new(ref.id, step.name, args, kwargs))

    def call(self, step: Call) -> Value:
        """Call a function or method; its arguments must come back unchanged."""
        args, kwargs = self._prepare(step)
        before = [_memory_of(tensor) for tensor in self._last_arguments]
        target = step.target.id if isinstance(step.target, Ref) else step.target
        reply = self._run(lambda: self._table.call(target, step.method, args, kwargs))
        for old, new in zip(before, self._last_arguments, strict=True):
            if old != _memory_of(new):
                name = step.method or str(step.target)
                message = f"{name} changed one of its input tensors"
                raise Stopped(Fault(kind=FaultKind.INPUT_CHANGED, message=message))
        return map_leaves(reply, _snapshot)

    def drop(self, ref: Ref) -> None:
        """Forget an object."""
        self._table.drop(ref.id)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""
        for tensor in self._last_arguments:
            overwrite(tensor)

    def reclaim_arguments(self) -> None:
        """Set the tensors passed to the last call to zero; their memory is not measured here."""
        for tensor in self._last_arguments:
            tensor.zero_()

    def _prepare(self, step: New | Call) -> tuple[list[Value], dict[str, Value]]:
        self._last_arguments = []
        return map_leaves(list(step.args), self._as_argument), map_leaves(
            step.kwargs, self._as_argument
        )

    def _as_argument(self, leaf: Value) -> Value:
        """Return what the submission gets for a part of an argument."""
        if isinstance(leaf, Ref):
            return self._table.object(leaf.id)
        if not isinstance(leaf, torch.Tensor):
            return leaf
        copy = with_strides(leaf, leaf.stride())  # clone would not keep them all
        self._last_arguments.append(copy)
        return copy

    def _run(self, request: Callable[[], Value]) -> Value:
        start_ns = time.perf_counter_ns()
        try:
            with numpy.errstate(all="ignore"):  # as in grading: interpreted kernels divide by 0
                return request()
        except MissingName as missing:
            raise Stopped(fault_of_missing(str(missing), self._failures)) from None
        except Exception as error:
            names = tuple(kind.__name__ for kind in type(error).__mro__)
            raised = Raised(names, str(error), self._locate(error))
            raised.because = explain_raised(names, raised.text, self._failures)
            raise raised from error
        finally:
            self.wall_ns += time.perf_counter_ns() - start_ns


def _locate(error: BaseException) -> str:
    """Return file and line of the innermost frame that is not the grader's own."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/grader/" not in f.filename]
    return f"{frames[-1].filename.rsplit('/', 1)[-1]}, line {frames[-1].lineno}" if frames else ""


def _memory_of(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor's memory, without an operator that a problem could deny."""
    storage = tensor.untyped_storage()
    return ctypes.string_at(storage.data_ptr(), storage.nbytes()) if storage.nbytes() else b""


def _snapshot(leaf: Value) -> Value:
    """Copy a tensor of a reply, and make NumPy's numbers Python's own, as sending it would."""
    return leaf.detach().clone() if isinstance(leaf, torch.Tensor) else plain_number(leaf)
