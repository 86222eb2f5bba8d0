"""Messages between judge and worker: steps become JSON requests, JSON replies become values.

Tensors travel beside the JSON, in shared memory (see `worker.buffers`). A reply comes from the
submission's process: only its bytes are read, every field is checked, and texts are cut. Sending
and waiting is the task of `worker.channel`.
"""

import base64
from collections.abc import Sequence
from typing import Any

import torch

from grader.assignment.steps import Call, New, Ref, Value, name_of
from grader.errors import AuthorError, ChannelError
from grader.evidence.faults import (
    FaultKind,
    LoadFailure,
    Raised,
    Stopped,
    damage_of,
    explain_raised,
    fault_of_missing,
    input_changed,
    unreadable,
)
from grader.intake.submission import SourceFile, Submission
from grader.runner import protocol
from grader.runner.loading import MAX_FAILURES, MAX_NAMES
from grader.runner.tensors import DTYPES, MAX_TENSORS, NAMES
from grader.worker.buffers import Arguments, WorkerMemory

MAX_TEXT = 2000
MAX_CLASSES = 20
MAX_NAME = 100
MAX_FRAMES = 20

Json = Any  # a field of a message


def location_of(submission: Submission, frames: Json) -> str:
    """Return the innermost frame that lies in the submission's own files, or an empty text."""
    own = own_frames(submission, frames)
    return own[-1][0] if own else ""


def own_frames(submission: Submission, frames: Json) -> list[tuple[str, str]]:
    """Return location and function of the frames that lie in the submission's own files.

    A location is checked. The name of a function is in the submission's words.
    """
    own: list[tuple[str, str]] = []
    files = {file.name: file for file in submission.files}
    for frame in frames if isinstance(frames, list) else ():
        if not isinstance(frame, list) or len(frame) != 3:
            continue
        name, line, function = frame
        file = files.get(name) if isinstance(name, str) else None
        if file is None or type(line) is not int:
            continue
        if not 1 <= line <= file.text.count("\n") + 1:
            continue  # an invented line number could carry hidden inputs out
        own.append((file.place_of(line), _text(function)[:MAX_NAME]))
    return own


def load_request(submission: Submission, harness: Sequence[SourceFile]) -> dict[str, Json]:
    """Return the request to import a submission, after the harness if there is one."""
    files = [{"name": file.name, "text": file.text} for file in (*submission.files, *harness)]
    binaries = [
        {"name": file.name, "base64": base64.b64encode(file.content).decode()}
        for file in submission.binaries
    ]
    return {
        "op": "load",
        "files": files,
        "binaries": binaries,
        "harness": bool(harness),
        "entry": submission.entry,
        "allowed": submission.allowed_imports,
        "only": submission.needs if submission.sliced else (),
    }


class Messages:
    """The messages of one worker, and the shared memory that holds their tensors.

    Attributes:
        failures: statements of the submission that could not be read, or raised when loaded.
    """

    def __init__(self, submission: Submission, memory: WorkerMemory, reply_bytes: int) -> None:
        self._submission = submission
        self._memory = memory
        self._reply_bytes = reply_bytes
        self._arguments: Arguments | None = None
        self._damage = damage_of(submission)
        self.failures = self._damage

    def encode(
        self, step: New | Call, *, first_ref: int = 0, new_ref: int = 0
    ) -> tuple[dict[str, Json], tuple[int, ...]]:
        """Return a step as a request, and the descriptor of its tensors; the worker is frozen.

        The memory of the last call's arguments is released first. `first_ref` is the number of the
        case's first object in the worker, `new_ref` that of a new object.

        Raises:
            AuthorError: if an argument is of a type that cannot be sent.
        """
        fields, tensors = _arguments_of(first_ref, step)
        self.close()
        self._arguments = self._memory.make_arguments(tensors)
        headers = [header.to_json() for header in self._arguments.headers]
        request = {**_operation(step, first_ref, new_ref), **fields, "tensors": headers}
        return request, (self._arguments.fd,) if headers else ()

    def decode(self, reply: dict[str, Json]) -> Value:
        """Return the value of a reply; the worker is frozen.

        Raises:
            Raised: the submission raised.
            Stopped: a name is missing, or the submission returned what cannot be sent.
            ChannelError: the reply does not have the form of one.
        """
        if "missing" in reply:
            raise Stopped(fault_of_missing(_text(reply["missing"]), self.failures))
        if "bad_reply" in reply:
            raise Stopped(unreadable(_text(reply["bad_reply"])))
        if "raised" in reply:
            raise self._read_exception(reply["raised"])
        headers = reply.get("tensors")
        if "value" not in reply or not isinstance(headers, list) or len(headers) > MAX_TENSORS:
            raise ChannelError("a reply without a value, or with too many tensors")
        unread = dict(enumerate(headers))
        left_bytes = self._reply_bytes

        def leaf(key: str, content: Json) -> Value:
            nonlocal left_bytes
            # Each tensor is read once, and all together within the limit: a few bytes of JSON that
            # name one large tensor thousands of times must not fill the judge's memory.
            if key == "t" and type(content) is int and content in unread:
                tensor = self._memory.read(unread.pop(content), left_bytes)
                left_bytes -= tensor.nbytes
                return tensor
            if key == "y" and isinstance(content, str) and content in DTYPES:
                return DTYPES[content]
            raise ChannelError("a reply of unknown form")

        try:
            return protocol.unflatten(reply["value"], leaf)
        except protocol.ProtocolError as error:
            raise ChannelError(str(error)) from error

    def note_load(self, reply: dict[str, Json]) -> None:
        """Keep what the reply to `load` says of statements that raised.

        Of no other reply: until then the submission has received nothing, so what it says here can
        be shown to students.

        Raises:
            ChannelError: the reply does not have the form of one.
        """
        forms = reply.get("failures", [])
        if not isinstance(forms, list) or len(forms) > MAX_FAILURES:
            raise ChannelError("a load with failures of unknown form")
        self.failures = (*self._damage, *(self._read_failure(form) for form in forms))

    def _read_failure(self, form: Json) -> LoadFailure:
        names = form.get("names") if isinstance(form, dict) else None
        if not isinstance(names, list) or len(names) > MAX_NAMES:
            raise ChannelError("a failure of unknown form")
        raised = self._read_exception(form.get("raised"))
        missing = "NotImplementedError" in raised.names
        return LoadFailure(
            names=tuple(_text(name)[:MAX_NAME] for name in names),
            text=str(raised),
            where=raised.where,
            kind=FaultKind.MISSING if missing else FaultKind.EXCEPTION,
        )

    def refuse_changed(self, step: New | Call) -> None:
        """Check the input tensors of the last call; the worker is frozen.

        Raises:
            Stopped: if the submission changed one of them.
        """
        if self._arguments is not None and not self._arguments.unchanged():
            raise Stopped(input_changed(name_of(step)))

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors of the last call; the worker is frozen."""
        if self._arguments is not None:
            self._arguments.overwrite()

    def reclaim_arguments(self) -> None:
        """Take the memory of the last call's tensors back; the worker is frozen."""
        if self._arguments is not None:
            self._arguments.reclaim()

    def close(self) -> None:
        """Release the memory of the last call's arguments."""
        arguments, self._arguments = self._arguments, None
        if arguments is not None:
            arguments.close()

    def _read_exception(self, form: Json) -> Raised:
        if not isinstance(form, dict):
            raise ChannelError("an exception of unknown form")
        names = form.get("names")
        if not isinstance(names, list) or not names:
            raise ChannelError("an exception without a class")
        classes = tuple(_text(name) for name in names[:MAX_CLASSES])
        frames = own_frames(self._submission, form.get("frames"))[-MAX_FRAMES:]
        raised = Raised(classes, _text(form.get("text", "")), frames[-1][0] if frames else "")
        raised.stack = "\n".join(f"{where}, in {function}" for where, function in frames)
        raised.because = explain_raised(classes, raised.text, self.failures)
        return raised


def _operation(step: New | Call, first_ref: int, new_ref: int) -> dict[str, Json]:
    if isinstance(step, New):
        return {"op": "new", "ref": new_ref, "name": step.name}
    target = first_ref + step.target.id if isinstance(step.target, Ref) else step.target
    return {"op": "call", "target": target, "method": step.method}


def _arguments_of(first_ref: int, step: New | Call) -> tuple[dict[str, Json], list[torch.Tensor]]:
    """Return a step's arguments, and the tensors among them in the order of their numbers."""
    tensors: list[torch.Tensor] = []

    def leaf(value: Value) -> Json:
        if isinstance(value, torch.Tensor):
            tensors.append(value.detach())
            return {"t": len(tensors) - 1}
        if isinstance(value, Ref):
            return {"r": first_ref + value.id}
        if isinstance(value, torch.dtype):
            return {"y": NAMES[value]}
        raise AuthorError(
            f"a case passes a {type(value).__name__}, which cannot be sent to a worker",
            hint="pass numbers, texts, tensors, dtypes, objects made by New, or lists, tuples and "
            "dictionaries of them",
        )

    args = [protocol.flatten(value, leaf) for value in step.args]
    kwargs = {key: protocol.flatten(value, leaf) for key, value in step.kwargs.items()}
    return {"args": args, "kwargs": kwargs}, tensors


def _text(value: Json) -> str:
    return value[:MAX_TEXT] if isinstance(value, str) else "(not a text)"
