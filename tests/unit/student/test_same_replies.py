"""What a submission returns or raises is taken alike in grading and on a student's machine.

The same function runs in a worker of each kind. The worker of grading is not in a sandbox here, but
its replies go through the memory, the messages and the checks of a graded run.
"""

import collections
import enum
import mmap
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._subclasses.fake_tensor import FakeTensorMode

from grader.assignment.steps import Call, Expect
from grader.correctness.drive import drive
from grader.errors import ChannelError
from grader.evidence.faults import FaultKind, Raised, Stopped
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.rule import first_trouble
from grader.runner import protocol
from grader.runner.tensors import NAMES
from grader.runner.worker import ObjectTable, WorkerProcess, frame_of_reply
from grader.student.local_worker import LocalWorker
from grader.worker.buffers import ReplyMemory, WorkerMemory
from grader.worker.messages import Messages

REPLY_BYTES = 1 << 16
SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="kv",
    files=(SourceFile(name="kv.py", text=""),),
)


class GradedWorker:
    """The worker of grading and the judge's side of it, in this process."""

    wall_ns = 0

    def __init__(self, namespace):
        self.replies = ReplyMemory(REPLY_BYTES)
        self.messages = Messages(SUBMISSION, WorkerMemory(self.replies), REPLY_BYTES)
        memory = mmap.mmap(self.replies.fd, REPLY_BYTES)
        unused: Any = None  # it is asked without a socket
        self.process = WorkerProcess(unused, memory, "/nowhere")
        self.process.table = ObjectTable(namespace, {})

    def call(self, step):
        request, fds = self.messages.encode(step)
        memory = self.process.open_memory(request, list(fds))
        frame = frame_of_reply("1", self.process.answer(request, memory))
        protocol.check_length(len(frame) - 4)
        reply = self.messages.decode(protocol.parse(frame[4:]))
        self.messages.refuse_changed(step)
        return reply


def outcome(worker, *args):
    """Return what the judge, or the student, learns from one call."""
    try:
        return described(worker.call(Call("f", *args)))
    except Raised as raised:
        return raised.names, raised.text
    except Stopped as stopped:
        return stopped.fault.kind, stopped.fault.message, stopped.fault.detail


def described(value):
    """Return a value with the type of every part, in a form that can be compared."""
    if isinstance(value, torch.Tensor):
        bits = torch.empty(value.shape, dtype=value.dtype).copy_(value).contiguous()
        raw = bytes(bits.view(torch.uint8).flatten().numpy()) if bits.numel() and bits.dim() else ""
        return type(value), value.dtype, value.shape, value.requires_grad, raw or repr(value)
    if isinstance(value, list | tuple):
        return type(value), [described(item) for item in value]
    if isinstance(value, dict):
        return dict, [(described(key), described(item)) for key, item in value.items()]
    return type(value), repr(value)


def both(function, *args):
    """Return the outcome of a call in grading, which must be that on a student's machine."""
    graded = outcome(GradedWorker({"f": function}), *args)
    local = outcome(LocalWorker({"f": function}, {}, reply_bytes=REPLY_BYTES), *args)
    assert graded == local
    return graded


Pair = collections.namedtuple("Pair", "dq dk")


class Level(enum.IntEnum):
    LOW = 1


class Colour(enum.StrEnum):
    RED = "red"


class Plain(enum.Enum):
    A = 1


class Tagged(torch.Tensor):
    pass


class Asked(torch.Tensor):
    """Answers each question itself, that for its dtype included."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return torch.zeros(1)


class Loud(list[int]):
    def __iter__(self):
        raise ValueError("my own iteration")


class Mute(Exception):
    def __str__(self):
        raise RuntimeError


TAKEN = {
    "named tuple": (Pair(torch.ones(2), 1), (torch.ones(2), 1)),
    "size": (torch.zeros(2, 3).shape, (2, 3)),
    "ordered dict": (collections.OrderedDict(b=1, a=torch.ones(1)), {"b": 1, "a": torch.ones(1)}),
    "defaultdict": (collections.defaultdict(list, {1: [2]}), {1: [2]}),
    "int enum": (Level.LOW, 1),
    "str enum": (Colour.RED, "red"),
    "numpy float": (np.float64(0.5), 0.5),
    "numpy half": (np.float16(0.5), 0.5),
    "numpy int": ([np.int8(-3)], [-3]),
    "numpy bool": (np.bool_(True), True),
    "numpy text": (np.str_("x"), "x"),
    "parameter": (torch.nn.Parameter(torch.ones(2)), torch.ones(2)),
    "buffer": (torch.nn.Buffer(torch.ones(2)), torch.ones(2)),
    "subclass": (torch.ones(2).as_subclass(Tagged), torch.ones(2)),
    "subclass that answers": (torch.ones(2).as_subclass(Asked), torch.ones(2)),
    "graph": (torch.ones(2, requires_grad=True) * 2, torch.full((2,), 2.0)),
    "view": (torch.arange(6.0).view(2, 3).t(), torch.arange(6.0).view(2, 3).t().contiguous()),
    "expanded": (torch.ones(1).expand(3), torch.ones(3)),
    "conjugate": (torch.tensor([1j]).conj(), torch.complex(torch.zeros(1), -torch.ones(1))),
    "empty": (torch.empty(0, 3), torch.empty(0, 3)),
    "scalar": (torch.tensor(3), torch.tensor(3)),
    "dtype": (torch.float16, torch.float16),
    "nothing": (None, None),
    "not a number": (float("nan"), float("nan")),
    "large integer": (1 << 4000, 1 << 4000),
}


@pytest.mark.parametrize("name", TAKEN)
def test_a_reply_is_what_it_is_a_kind_of(name):
    value, plain = TAKEN[name]
    assert both(lambda: value) == described(plain)


def itself():
    value: list[Any] = []
    value.append(value)
    return value


REFUSED = {
    "set": {1},
    "bytes": b"x",
    "range": range(3),
    "generator": (one for one in [1]),
    "complex": 1j,
    "object": object(),
    "enum": Plain.A,
    "array": np.zeros(2),
    "function": np.add,
    "array without dimensions": np.zeros(()),
    "namespace": SimpleNamespace(a=1),
    "key": {(1, 2): 3},
    "large integer": 1 << 9000,
    "holds itself": itself(),
    "long text": "x" * (protocol.MAX_MESSAGE_BYTES + 1),
    "many tensors": [torch.zeros(())] * 4097,
    "large tensor": torch.zeros(REPLY_BYTES + 1, dtype=torch.uint8),
    "large together": [torch.zeros(REPLY_BYTES // 2 + 1, dtype=torch.uint8)] * 2,
    "sparse": torch.eye(2).to_sparse(),
    "meta": torch.zeros(2, device="meta"),
    "dtype": torch.zeros(2, dtype=torch.complex128),
    "fake": FakeTensorMode().from_tensor(torch.zeros(2)),
    "dimensions": torch.zeros([1] * 17),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_read_is_refused_with_its_type(name):
    kind, message, detail = both(lambda: REFUSED[name])
    assert (kind, message) == (
        FaultKind.BAD_REPLY,
        "it returned a value that the grader cannot read",
    )
    assert detail


def raising(error):
    def function():
        raise error

    return function


@pytest.mark.parametrize(
    ("function", "name"),
    [
        (raising(ValueError("no")), "ValueError"),
        (raising(SystemExit(3)), "SystemExit"),
        (raising(Mute()), "Mute"),
        (raising(RuntimeError("DefaultCPUAllocator: can't allocate memory")), "MemoryError"),
        (raising(TypeError("x" * 9000)), "TypeError"),
        (lambda: Loud([1]), "ValueError"),
    ],
)
def test_what_is_raised_has_the_same_names_and_text(function, name):
    assert both(function)[0][0] == name


def test_a_changed_input_is_told_alike():
    assert both(lambda x: x.add_(1), torch.ones(2))[0] is FaultKind.INPUT_CHANGED
    assert both(lambda x: {x.add_(1)}, torch.ones(2))[0] is FaultKind.BAD_REPLY


primitives = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=4),
    st.sampled_from([np.int64(3), np.float32(0.1), np.bool_(False), np.zeros(2), 1j, b"x"]),
    st.sampled_from(sorted(map(str, NAMES))).map(lambda name: getattr(torch, name[6:])),
    st.builds(
        torch.zeros,
        st.lists(st.integers(0, 3), max_size=3),
        dtype=st.sampled_from([torch.float16, torch.int8, torch.bool, torch.complex64]),
    ),
)
replies = st.recursive(
    primitives,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.lists(inner, max_size=3).map(tuple),
        st.builds(Pair, inner, inner),
        st.dictionaries(st.one_of(st.text(max_size=2), st.integers(), st.booleans()), inner),
    ),
    max_leaves=6,
)


@settings(max_examples=60, deadline=None)
@given(replies)
def test_every_kind_of_reply_is_told_alike(value):
    both(lambda: value)


@pytest.mark.parametrize("worker", [GradedWorker, lambda names: LocalWorker(names, {})])
def test_a_named_tuple_passes_where_a_tuple_is_expected(worker):
    def steps():
        got = yield Call("f")
        yield Expect(got, (torch.ones(2), 1), label="pair")

    case = drive(
        steps(), worker({"f": lambda: Pair(torch.ones(2), 1)}), check="c", index=0, public=True
    )
    assert first_trouble(case, {}) is None


def test_a_message_is_never_longer_than_the_judge_reads():
    worker = GradedWorker({"f": lambda: ["x" * 1000] * 5000})
    try:
        outcome(worker)
    except ChannelError:
        pytest.fail("the judge was sent what it does not read")
