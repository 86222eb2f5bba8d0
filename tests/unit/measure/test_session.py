"""What a box may claim in a reply: a value, an exception, a missing name, or it is broken."""

import os
import socket
import threading
from types import SimpleNamespace

import pytest
import torch

from grader.author.steps import Call, New, Ref
from grader.errors import AuthorError
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.buffers import ArgumentMemory, ReplyMemory
from grader.measure.drive import Raised, Stopped
from grader.measure.measurement import FaultKind
from grader.measure.session import MAX_TEXT, Session
from grader.plan.assignment import Limits
from grader.runner import wire
from grader.sandbox.faults import Ending
from grader.sandbox.meter import Usage

SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="kv",
    files=(SourceFile(name="kv.py", text="x = 1\n" * 4),),
)

ENDLESS = {"dtype": "float32", "shape": [0] + [4096] * 5, "offset": 0}


class FakeWall:
    """Counts freezes; its child is alive."""

    def __init__(self):
        self.frozen = 0

    def freeze(self):
        self.frozen += 1

    def thaw(self):
        self.frozen -= 1

    def ending(self, child, wait_s):
        return Ending(wall_alive=True, exited=False, status=0, oom_kills=0)


class FakeMeter:
    """Counts what it is told to."""

    counts = True
    usage = Usage(cpu_ns=5, peak_bytes=6, wire_bytes=7)

    def read(self):
        return self.usage


class Box:
    """A session whose child answers every request with the same claim."""

    def __init__(self, claim):
        self.requests = []
        judge_end, self._sock = socket.socketpair()
        output, self._write = os.pipe()
        self.wall = FakeWall()
        self._memory = ReplyMemory(1 << 12)
        self.meter = FakeMeter()
        child = SimpleNamespace(channel=judge_end, output_fd=output, exit_fd=-1, meter=self.meter)
        self.session = Session(
            self.wall,  # type: ignore[arg-type]
            child,  # type: ignore[arg-type]
            submission=SUBMISSION,
            limits=Limits(call_wall_s=5.0, reply_bytes=1 << 12),
            reply_memory=self._memory,
        )
        self._thread = threading.Thread(target=self._serve, args=(claim,), daemon=True)
        self._thread.start()

    def _serve(self, claim):
        while True:
            try:
                request, fds = wire.receive(self._sock, max_fds=1)
            except wire.WireError:
                return
            for fd in fds:
                os.close(fd)
            self.requests.append(request)
            wire.send(self._sock, {"seq": request["seq"], **claim})

    def close(self):
        self.session.close()
        self._thread.join(5)
        self._sock.close()
        self._memory.close()
        os.close(self._write)


@pytest.fixture
def open_box():
    boxes = []

    def make(**claim):
        boxes.append(Box(claim))
        return boxes[-1]

    yield make
    for box in boxes:
        box.close()


@pytest.mark.parametrize(
    ("tree", "value"),
    [
        (None, None),
        (3, 3),
        ({"u": [1, {"l": []}]}, (1, [])),
        ({"d": [["a", {"y": "float16"}]]}, {"a": torch.float16}),
    ],
)
def test_a_value_comes_back(open_box, tree, value):
    box = open_box(value=tree, tensors=[])
    assert box.session.call(Call("f")) == value
    assert box.wall.frozen == 1  # nothing runs while the judge reads
    assert box.session.alive


@pytest.mark.parametrize(
    "claim",
    [
        {},
        {"value": 1},
        {"value": 1, "tensors": None},
        {"value": {"t": 0}, "tensors": []},
        {"value": {"t": -1}, "tensors": [{}]},
        {"value": {"t": True}, "tensors": [{}, {}]},
        {"value": {"t": 0}, "tensors": [{}]},
        {"value": {"t": 0}, "tensors": [ENDLESS]},
        {"value": {"y": "float31"}, "tensors": []},
        {"value": {"y": []}, "tensors": []},
        {"value": {"y": {}}, "tensors": []},
        {"value": {"r": 0}, "tensors": []},
        {"value": {"x": 0}, "tensors": []},
        {"value": {"l": 0, "u": 0}, "tensors": []},
        {"value": [], "tensors": []},
        {"value": {"d": [[{"l": []}, 1]]}, "tensors": []},
        {"raised": None},
        {"raised": "KeyError"},
        {"raised": {}},
        {"raised": {"names": []}},
        {"raised": {"names": "KeyError"}},
    ],
    ids=str,
)
def test_a_broken_reply_is_the_submissions_fault_and_ends_the_child(open_box, claim):
    box = open_box(**claim)
    with pytest.raises(Stopped) as caught:
        box.session.call(Call("f"))
    assert caught.value.fault.kind is FaultKind.BAD_REPLY
    assert not box.session.alive
    assert box.wall.frozen == 0


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        ({"missing": "f"}, FaultKind.MISSING),
        ({"missing": ["f"]}, FaultKind.MISSING),
        ({"bad_reply": "a set"}, FaultKind.BAD_REPLY),
    ],
)
def test_what_the_box_cannot_do_keeps_it_alive(open_box, claim, kind):
    box = open_box(**claim)
    with pytest.raises(Stopped) as caught:
        box.session.new(Ref(0), New("Cache"))
    assert caught.value.fault.kind is kind
    assert box.session.alive


def test_an_exception_is_capped_and_placed(open_box):
    names = ["MyError", "ValueError", 7] + ["Exception"] * 100
    frames = [["kv.py", 4, "f"], ["torch.py", 9, "g"]]
    box = open_box(raised={"names": names, "text": "x" * 10_000, "frames": frames})
    with pytest.raises(Raised) as caught:
        box.session.call(Call("f"))
    assert caught.value.names[:3] == ("MyError", "ValueError", "(not a text)")
    assert len(caught.value.names) <= 20
    assert len(caught.value.text) == MAX_TEXT
    assert caught.value.where == "kv.py, line 4"


def test_objects_of_the_next_case_have_new_numbers(open_box):
    box = open_box(value=None, tensors=[])
    for _ in range(2):
        box.session.new(Ref(0), New("Cache"))
        box.session.call(Call(Ref(0), "append", [Ref(0)]))
        box.session.end_case()
    operations = [(r["op"], r.get("ref", r.get("target", r.get("refs")))) for r in box.requests]
    assert operations == [
        ("new", 0),
        ("call", 0),
        ("drop", [0]),
        ("new", 1),
        ("call", 1),
        ("drop", [1]),
    ]
    assert box.requests[4]["args"] == [{"l": [{"r": 1}]}]


def test_what_cannot_travel_is_the_authors_fault(open_box):
    with pytest.raises(AuthorError, match="set"):
        open_box(value=None, tensors=[]).session.call(Call("f", {1}))


def test_what_a_child_uses_is_read_from_its_meter(open_box):
    box = open_box(value=None, tensors=[])
    assert box.session.usage() == FakeMeter.usage
    assert box.session.metered
    box.meter.counts = False
    assert not box.session.metered


def test_loading_is_no_part_of_the_time_of_calls(open_box):
    box = open_box(value=None, tensors=[])
    box.session.load("")
    assert box.session.wall_ns == 0
    box.session.call(Call("f"))
    assert box.session.wall_ns > 0


def test_the_last_calls_memory_alone_is_taken_back(open_box):
    box = open_box(value=None, tensors=[])
    box.session.reclaim_arguments()  # nothing was passed yet
    kept = torch.ones(5000)
    taken = []

    def make(tensors):
        taken.append(ArgumentMemory(tensors))
        return taken[-1]

    box.session._make_arguments = make
    for _ in range(2):
        box.session.call(Call("f", kept))
    second = os.dup(taken[1].fd)
    box.session.reclaim_arguments()
    assert os.fstat(second).st_blocks == 0
    assert kept.sum() == 5000
    os.close(second)
