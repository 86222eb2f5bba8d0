"""The worker: a confined child that imports one submission and answers the judge's requests.

Requests are `load`, `find`, `new`, `call` and `drop`; the argument tensors of each come in a memory
file. `ObjectTable` holds the objects that `new` makes. The child is confined before (see
`runner.confinement`).

The judge trusts nothing from this process. Checks here only prevent that the results of an honest
submission are garbled.
"""

import base64
import contextlib
import importlib
import os
import socket
import sys
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch

from . import protocol
from .loading import Loading
from .tensors import (
    DTYPES,
    NAMES,
    Memory,
    ReplyWriter,
    TensorHeader,
    map_memory,
    view,
)

HARNESS_PREFIX = "harness:"
MAX_TEXT = 2000
"""Characters of an exception's text."""
MAX_FRAMES = 20
TOO_LONG = f"a value of more than {protocol.MAX_MESSAGE_BYTES >> 20} MiB besides its tensors"

Json = Any  # a message's fields
Value = Any  # whatever the student's code takes and returns


class MissingName(Exception):
    """The submission does not define a name that a problem needs."""


class ObjectTable:
    """The student's functions and classes, and the objects of one case by the judge's numbers."""

    def __init__(self, submission: Mapping[str, Value], harness: Mapping[str, Value]) -> None:
        self._submission = submission
        self._harness = harness
        self._objects: dict[int, Value] = {}

    def require(self, names: list[str]) -> None:
        """Check that the submission or harness defines all `names`; calls nothing.

        Raises:
            MissingName: if the submission does not define one.
        """
        for name in names:
            self._lookup(name)

    def new(self, ref: int, name: str, args: list[Value], kwargs: dict[str, Value]) -> None:
        """Create an object of the class `name` and store it as `ref`.

        Raises:
            MissingName: if the submission does not define `name`.
        """
        self._objects[ref] = self._lookup(name)(*args, **kwargs)

    def call(
        self, target: str | int, method: str, args: list[Value], kwargs: dict[str, Value]
    ) -> Value:
        """Call the function `target`, or `method` of the object `target`.

        Raises:
            MissingName: if there is no such function or method.
        """
        if isinstance(target, str):
            return self._lookup(target)(*args, **kwargs)
        bound = getattr(self._objects[target], method, None)
        if bound is None:
            owner = type(self._objects[target]).__name__
            raise MissingName(f"{owner}.{method}")
        if not callable(bound):  # a property or attribute: the judge "calls" it
            return bound
        return bound(*args, **kwargs)

    def object(self, ref: int) -> Value:
        """Return the object stored as `ref`."""
        return self._objects[ref]

    def drop(self, ref: int) -> None:
        """Forget an object."""
        self._objects.pop(ref, None)

    def _lookup(self, name: str) -> Value:
        if name.startswith(HARNESS_PREFIX):
            return self._harness[name.removeprefix(HARNESS_PREFIX)]
        if name not in self._submission:
            raise MissingName(name)
        return self._submission[name]


@dataclass(slots=True)
class WorkerProcess:
    """One worker.

    Attributes:
        reply_memory: for the tensors of replies.
        home: folder with the submission's files.
        further: additional operations by name; each gets the request.
        table: the student's functions and objects.
    """

    channel: socket.socket
    reply_memory: Memory
    home: str
    further: Mapping[str, Callable[[dict[str, Json]], Value]] = field(default_factory=dict)
    table: ObjectTable = field(default_factory=lambda: ObjectTable({}, {}))

    def serve(self) -> None:
        """Answer requests until the judge closes the channel."""
        while True:
            try:
                request, fds = protocol.receive(
                    self.channel, max_fds=1, max_bytes=protocol.MAX_REQUEST_BYTES
                )
            except protocol.ProtocolClosed:
                return
            memory = self.open_memory(request, fds)
            for fd in fds:
                os.close(fd)
            reply = self.answer(request, memory)
            memory = None  # now only the argument tensors keep it mapped
            protocol.send_frame(self.channel, frame_of_reply(request["seq"], reply))

    def open_memory(self, request: dict[str, Json], fds: list[int]) -> Memory | None:
        """Map the memory that came with a request, if any."""
        return map_memory(fds[0], populate=True) if fds else None

    def answer(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry out a request and return the reply, whatever the submission raises."""
        try:
            return self.carry_out(request, memory)
        except MissingName as missing:
            return {"missing": str(missing)[:MAX_TEXT]}
        except protocol.Unsendable as error:
            return {"bad_reply": str(error)[:MAX_TEXT]}
        except BaseException as error:  # noqa: BLE001 - a submission may raise anything, SystemExit too
            return {"raised": _describe(error, self.home)}

    def carry_out(self, request: dict[str, Json], memory: Memory | None) -> dict[str, Json]:
        """Carry out a request and return the reply."""
        operation = request["op"]
        if operation in self.further:
            return self._express(self.further[operation](request))
        match operation:
            case "load":
                return {"value": None, "tensors": [], "failures": self._load(request)}
            case "drop":
                for ref in request["refs"]:
                    self.table.drop(ref)
            case "find":
                self.table.require(request["names"])
            case "new":
                args, kwargs = self._arguments(request, memory)
                self.table.new(request["ref"], request["name"], args, kwargs)
            case _:
                args, kwargs = self._arguments(request, memory)
                reply = self.table.call(request["target"], request["method"], args, kwargs)
                return self._express(reply)
        return {"value": None, "tensors": []}

    def _load(self, request: dict[str, Json]) -> list[Json]:
        """Write the files, import the harness and then the submission; return what raised."""
        for file in request["files"]:
            os.makedirs(os.path.dirname(f"{self.home}/{file['name']}"), exist_ok=True)
            with open(f"{self.home}/{file['name']}", "xb") as out:
                out.write(file["text"].encode())
        for file in request.get("binaries", ()):
            with open(f"{self.home}/{file['name']}", "xb") as out:
                out.write(base64.b64decode(file["base64"]))
        sys.path.insert(0, self.home)
        harness = vars(importlib.import_module("harness")) if request["harness"] else {}
        self.table = ObjectTable({}, harness)
        loading = Loading(
            home=self.home,
            describe=lambda error: _describe(error, self.home),
            allowed=request["allowed"],
            only=request["only"],
        )
        self.table = ObjectTable(loading.run(request["entry"]), harness)
        return [{"names": one.names, "raised": one.raised} for one in loading.failures]

    def _arguments(
        self, request: dict[str, Json], memory: Memory | None
    ) -> tuple[list[Value], dict[str, Value]]:
        tensors: list[torch.Tensor] = []
        if memory is not None:
            tensors = [view(memory, TensorHeader.from_json(form)) for form in request["tensors"]]

        def leaf(key: str, content: Json) -> Value:
            if key == "t":
                return tensors[content]
            if key == "r":
                return self.table.object(content)
            return DTYPES[content]

        args = [protocol.unflatten(tree, leaf) for tree in request["args"]]
        kwargs = {key: protocol.unflatten(tree, leaf) for key, tree in request["kwargs"].items()}
        return args, kwargs

    def _express(self, value: Value) -> dict[str, Json]:
        """Return the reply for a value."""
        writer = ReplyWriter(self.reply_memory)
        tree = express(value, writer.put)
        return {"value": tree, "tensors": [header.to_json() for header in writer.headers]}


def express(value: Value, put: Callable[[torch.Tensor], int]) -> Json:
    """Return the JSON form of what a submission returned, or could not return.

    A student's machine uses this as well, so that it takes and refuses the same (see
    `student.local_worker`). `put` keeps a tensor and returns its number.

    Raises:
        Unsendable: if a part is of a type that cannot travel, or there is too much of it.
    """

    def leaf(part: Value) -> Json:
        if isinstance(part, torch.Tensor):
            return {"t": put(part)}
        if isinstance(part, torch.dtype) and part in NAMES:
            return {"y": NAMES[part]}
        raise protocol.Unsendable(
            f"a value of type {type(part).__module__}.{type(part).__qualname__}"
        )

    return protocol.flatten(value, leaf)


def frame_of_reply(sequence: str, reply: dict[str, Json]) -> bytes:
    """Return the bytes of a reply, or of the refusal of one that the judge would not read."""
    with contextlib.suppress(protocol.ProtocolError):
        frame = protocol.frame_of({"seq": sequence, **reply})
        if len(frame) <= protocol.MAX_MESSAGE_BYTES:
            return frame
    return protocol.frame_of({"seq": sequence, "bad_reply": TOO_LONG})


def class_names(error: BaseException) -> list[str]:
    """Return the names of an exception's classes, the most derived first."""
    names = [kind.__name__ for kind in type(error).__mro__ if kind is not object]
    if type(error) is RuntimeError and "can't allocate memory" in text_of(error):
        names.insert(0, "MemoryError")  # on a CPU, torch raises no type of its own
    if isinstance(error, torch.OutOfMemoryError):  # the RuntimeError of a device
        names.insert(0, "MemoryError")
    return names[:MAX_FRAMES]


def text_of(error: BaseException) -> str:
    """Return an exception's text, capped."""
    try:
        return str(error)[:MAX_TEXT]
    except BaseException:  # noqa: BLE001 - the student's own __str__
        return "(its __str__ raised an exception)"


def stack_of(error: BaseException) -> list[traceback.FrameSummary]:
    """Return the frames of an exception, outermost first, with those inside an interpreted kernel.

    Triton's interpreter raises an exception of its own where it was launched; the line of the
    kernel is in the cause of it.
    """
    frames = list(traceback.extract_tb(error.__traceback__))
    cause = error.__cause__
    if type(error).__module__.startswith("triton.") and cause is not None:
        frames += stack_of(cause)
    return frames


def _describe(error: BaseException, home: str) -> dict[str, Json]:
    """Return an exception's class names, text and frames inside the submission."""
    frames = [
        [os.path.relpath(frame.filename, home), frame.lineno or 0, frame.name]
        for frame in stack_of(error)
        if frame.filename.startswith(home)
    ]
    if isinstance(error, SyntaxError) and error.filename and error.filename.startswith(home):
        frames.append([os.path.relpath(error.filename, home), error.lineno or 0, ""])
    return {"names": class_names(error), "text": text_of(error), "frames": frames[-MAX_FRAMES:]}
