"""A worker without a sandbox: the submission runs in this process, on a student's own machine.

`correctness.drive` runs cases in it. It protects nothing, so nothing measured here counts for a
grade.
"""

import ctypes
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from traceback import FrameSummary

import numpy
import torch

from grader.assignment.steps import Call, New, Ref, Value, name_of
from grader.assignment.table import Limits
from grader.evidence.faults import (
    LoadFailure,
    Raised,
    Stopped,
    explain_raised,
    fault_of_missing,
    input_changed,
    unreadable,
)
from grader.runner import protocol
from grader.runner.tensors import DTYPES, MAX_TENSORS, ReplyTooLarge, align, plain_tensor
from grader.runner.worker import (
    MAX_FRAMES,
    TOO_LONG,
    MissingName,
    ObjectTable,
    class_names,
    express,
    stack_of,
    text_of,
)
from grader.student.tensors import overwrite, with_strides
from grader.student.trace import map_leaves

REPLY_BYTES = Limits().reply_bytes
"""Limit of one reply's tensors where an assignment sets no other."""


class LocalWorker:
    """Runs requests in this process; arguments are cloned so that a case keeps its own.

    `locate` turns an exception into its location in the student's source, as the student knows it;
    `failures` are the statements of the submission that raised when it was loaded; `reply_bytes`
    is the limit of one reply's tensors.
    """

    def __init__(
        self,
        submission: Mapping[str, Value],
        harness: Mapping[str, Value],
        *,
        locate: Callable[[BaseException], str] | None = None,
        failures: Sequence[LoadFailure] = (),
        reply_bytes: int = REPLY_BYTES,
    ) -> None:
        self._table = ObjectTable(submission, harness)
        self._reply_bytes = reply_bytes
        self._locate = locate or _locate
        self._failures = failures
        self._last_arguments: list[torch.Tensor] = []
        self.wall_ns = 0

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`; the arguments must come back unchanged."""
        args, kwargs = self._prepare(step)
        self._ask(step, lambda: self._table.new(ref.id, step.name, args, kwargs))

    def call(self, step: Call) -> Value:
        """Call a function or method; its arguments must come back unchanged."""
        args, kwargs = self._prepare(step)
        target = step.target.id if isinstance(step.target, Ref) else step.target
        return self._ask(step, lambda: self._table.call(target, step.method, args, kwargs))

    def _ask(self, step: New | Call, request: Callable[[], Value]) -> Value:
        before = [_memory_of(tensor) for tensor in self._last_arguments]
        reply = self._run(request)
        if before != [_memory_of(tensor) for tensor in self._last_arguments]:
            raise Stopped(input_changed(name_of(step)))
        return reply

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
        try:
            with numpy.errstate(all="ignore"):  # as in grading: interpreted kernels divide by 0
                return self._kept(self._timed(request))
        except MissingName as missing:
            raise Stopped(fault_of_missing(str(missing), self._failures)) from None
        except protocol.Unsendable as error:
            raise Stopped(unreadable(str(error))) from None
        except KeyboardInterrupt:
            raise  # of the student, at the keyboard
        except BaseException as error:
            names = tuple(class_names(error))
            raised = Raised(names, text_of(error), self._locate(error))
            raised.because = explain_raised(names, raised.text, self._failures)
            raised.stack = "\n".join(
                f"{_place(frame)}, in {frame.name}" for frame in _own_frames(error)[-MAX_FRAMES:]
            )
            raise raised from error

    def _kept(self, reply: Value) -> Value:
        return as_sent(reply, self._reply_bytes)

    def _timed(self, request: Callable[[], Value]) -> Value:
        start_ns = time.perf_counter_ns()
        try:
            return request()
        finally:
            self.wall_ns += time.perf_counter_ns() - start_ns


def interpret_as_graded() -> None:
    """Let Triton's interpreter, if it is loaded, compute as in grading: `runner.interpreter`."""
    if "triton" in sys.modules:
        from grader.runner.interpreter import compute_as_a_device  # it imports triton

        compute_as_a_device()


def as_sent(reply: Value, limit_bytes: int = REPLY_BYTES) -> Value:
    """Return a reply as grading would receive it: copied, and made of Python's own types.

    Raises:
        Unsendable: if grading could not read it.
    """
    tensors: list[torch.Tensor] = []
    end = 0

    def put(tensor: torch.Tensor) -> int:
        nonlocal end
        tensor = plain_tensor(tensor)
        end = align(end) + tensor.nbytes
        if end > limit_bytes:
            raise ReplyTooLarge(f"a reply of {end} bytes, limit {limit_bytes}")
        if len(tensors) == MAX_TENSORS:
            raise ReplyTooLarge(f"a reply of more than {MAX_TENSORS} tensors")
        tensors.append(tensor.clone())
        return len(tensors) - 1

    tree = express(reply, put)
    if len(json.dumps(tree)) > protocol.MAX_MESSAGE_BYTES:
        raise ReplyTooLarge(TOO_LONG)
    return protocol.unflatten(
        tree, lambda key, content: tensors[content] if key == "t" else DTYPES[content]
    )


def _own_frames(error: BaseException) -> list[FrameSummary]:
    folders = ("/grader/", "/torch/", "/triton/")
    return [f for f in stack_of(error) if not any(name in f.filename for name in folders)]


def _place(frame: FrameSummary) -> str:
    return f"{frame.filename.rsplit('/', 1)[-1]}, line {frame.lineno}"


def _locate(error: BaseException) -> str:
    """Return file and line of the innermost frame that is not the grader's or torch's own."""
    frames = _own_frames(error)
    return _place(frames[-1]) if frames else ""


def _memory_of(tensor: torch.Tensor) -> bytes:
    """Return the bytes of a tensor's memory, without an operator that a problem could deny."""
    storage = tensor.untyped_storage()
    return ctypes.string_at(storage.data_ptr(), storage.nbytes()) if storage.nbytes() else b""
