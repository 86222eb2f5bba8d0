"""Replies of a worker: a value, an exception, a missing name, or a broken one."""

import os
import socket
import threading
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from grader.assignment.steps import Call, New, Ref
from grader.assignment.table import Limits
from grader.errors import AuthorError, CallTimeout
from grader.evidence.faults import Ending, FaultKind, Raised, Stopped
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner import protocol
from grader.sandbox.meter import Usage
from grader.worker.buffers import ArgumentMemory, ReplyMemory, WorkerMemory
from grader.worker.messages import MAX_TEXT
from grader.worker.session import Session, WorkerClock

SUBMISSION = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="kv",
    files=(SourceFile(name="kv.py", text="x = 1\n" * 4),),
)

ENDLESS = {"dtype": "float32", "shape": [0] + [4096] * 5, "offset": 0}


class FakeSandbox:
    """Counts freezes; its child is alive."""

    def __init__(self):
        self.frozen = 0

    def freeze(self):
        self.frozen += 1

    def thaw(self):
        self.frozen -= 1

    def ending(self, child, wait_s):
        return Ending(sandbox_alive=True, exited=False, status=0, oom_kills=0)


class FakeMeter:
    """Counts what it is told to."""

    counts = True
    usage = Usage(cpu_ns=5, peak_bytes=6, traffic_bytes=7)

    def read(self):
        return self.usage


class Worker:
    """A session whose child answers every request with the same claim."""

    def __init__(self, claim):
        self.requests = []
        judge_end, self._sock = socket.socketpair()
        output, self._write = os.pipe()
        self.sandbox = FakeSandbox()
        self._replies = ReplyMemory(1 << 12)
        self.memory = WorkerMemory(self._replies)
        self.meter = FakeMeter()
        child = SimpleNamespace(channel=judge_end, output_fd=output, exit_fd=-1, meter=self.meter)
        self.session = Session(
            self.sandbox,  # type: ignore[arg-type]
            child,  # type: ignore[arg-type]
            submission=SUBMISSION,
            limits=Limits(call_wall_s=5.0, reply_bytes=1 << 12),
            memory=self.memory,
            clock=WorkerClock(),
        )
        self._thread = threading.Thread(target=self._serve, args=(claim,), daemon=True)
        self._thread.start()

    def _serve(self, claim):
        while True:
            try:
                request, fds = protocol.receive(self._sock, max_fds=1)
            except protocol.ProtocolError:
                return
            for fd in fds:
                os.close(fd)
            self.requests.append(request)
            protocol.send(self._sock, {"seq": request["seq"], **claim})

    def close(self):
        self.session.close()
        self._thread.join(5)
        self._sock.close()
        self._replies.close()
        os.close(self._write)


@pytest.fixture
def open_worker():
    workers = []

    def make(**claim):
        workers.append(Worker(claim))
        return workers[-1]

    yield make
    for worker in workers:
        worker.close()


class SlowChannel:
    """Answers each request after as many seconds as it is told; no time passes in truth."""

    def __init__(self, *calls_s):
        self.limits_s = []
        self.wall_ns = 0
        self._calls_s = iter(calls_s)

    def ask(self, request, *, fds, limit_s, start):
        self.limits_s.append(limit_s)
        call_s = next(self._calls_s)
        self.wall_ns += round(min(call_s, limit_s) * 1e9)
        if call_s > limit_s:
            raise CallTimeout("no reply")
        return {"value": None, "tensors": []}

    def lost_ns(self):
        return 0

    def close(self):
        """Nothing is open."""


COMPILING = replace(
    SUBMISSION, files=(SourceFile(name="kv.py", text="import torch\n@torch.compile\ndef f(): 0"),)
)


def slow_session(submission, *calls_s):
    """Return a session of a submission whose calls take so many seconds, and its channel."""
    worker = SimpleNamespace(channel=None, output_fd=-1, exit_fd=-1, meter=FakeMeter())
    channel = SlowChannel(*calls_s)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("grader.worker.session.Channel", lambda child, limit: channel)
        session = Session(
            FakeSandbox(),  # type: ignore[arg-type]
            worker,  # type: ignore[arg-type]
            submission=submission,
            limits=Limits(call_wall_s=4.0, load_wall_s=20.0, compile_wall_s=60.0),
            memory=WorkerMemory(None),  # type: ignore[arg-type]
            clock=WorkerClock(),
        )
    return session, channel


def test_first_calls_of_what_compiles_may_take_longer_and_are_not_charged():
    session, channel = slow_session(COMPILING, 22.0, 34.0, 3.0, 32.0)
    session.load()
    assert session.load_ns == 20e9  # of 22 s, 2 of the allowance
    for _ in range(3):
        session.call(Call("f"))
    assert channel.limits_s == [80.0, 62.0, 32.0, 32.0]
    assert session.charged_ns == (4 + 3 + 4) * 1e9
    assert session.wall_ns == (34 + 3 + 32) * 1e9  # what is measured stays whole


def test_a_timeout_says_that_compiling_was_counted():
    session, _ = slow_session(COMPILING, 65.0)
    with pytest.raises(Stopped) as stopped:
        session.call(Call("f"))
    assert stopped.value.fault.kind is FaultKind.TIMEOUT
    assert stopped.value.fault.message.endswith(", of which 60 s are for compiling")


def test_without_a_compiler_a_call_has_its_limit_and_no_more():
    session, channel = slow_session(SUBMISSION, 5.0)
    with pytest.raises(Stopped) as stopped:
        session.call(Call("f"))
    assert channel.limits_s == [4.0]
    assert stopped.value.fault.message == "it did not return within the time limit"


@pytest.mark.parametrize(
    ("tree", "value"),
    [
        (None, None),
        (3, 3),
        ({"u": [1, {"l": []}]}, (1, [])),
        ({"d": [["a", {"y": "float16"}]]}, {"a": torch.float16}),
    ],
)
def test_a_value_comes_back(open_worker, tree, value):
    worker = open_worker(value=tree, tensors=[])
    assert worker.session.call(Call("f")) == value
    assert worker.sandbox.frozen == 1  # nothing runs while the judge reads
    assert worker.session.alive


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
def test_a_broken_reply_is_the_submissions_fault_and_ends_the_child(open_worker, claim):
    worker = open_worker(**claim)
    with pytest.raises(Stopped) as caught:
        worker.session.call(Call("f"))
    assert caught.value.fault.kind is FaultKind.BAD_REPLY
    assert not worker.session.alive
    assert worker.sandbox.frozen == 0


@pytest.mark.parametrize(
    ("claim", "kind"),
    [
        ({"missing": "f"}, FaultKind.MISSING),
        ({"missing": ["f"]}, FaultKind.MISSING),
        ({"bad_reply": "a set"}, FaultKind.BAD_REPLY),
    ],
)
def test_a_reply_without_a_value_keeps_the_worker_alive(open_worker, claim, kind):
    worker = open_worker(**claim)
    with pytest.raises(Stopped) as caught:
        worker.session.new(Ref(0), New("Cache"))
    assert caught.value.fault.kind is kind
    assert worker.session.alive


def test_an_exception_is_cut_and_has_a_location(open_worker):
    names = ["MyError", "ValueError", 7] + ["Exception"] * 100
    frames = [["kv.py", 4, "f"], ["torch.py", 9, "g"]]
    worker = open_worker(raised={"names": names, "text": "x" * 10_000, "frames": frames})
    with pytest.raises(Raised) as caught:
        worker.session.call(Call("f"))
    assert caught.value.names[:3] == ("MyError", "ValueError", "(not a text)")
    assert len(caught.value.names) <= 20
    assert len(caught.value.text) == MAX_TEXT
    assert caught.value.where == "kv.py, line 4"


def test_objects_of_the_next_case_have_new_numbers(open_worker):
    worker = open_worker(value=None, tensors=[])
    for _ in range(2):
        worker.session.new(Ref(0), New("Cache"))
        worker.session.call(Call(Ref(0), "append", [Ref(0)]))
        worker.session.end_case()
    operations = [(r["op"], r.get("ref", r.get("target", r.get("refs")))) for r in worker.requests]
    assert operations == [
        ("new", 0),
        ("call", 0),
        ("drop", [0]),
        ("new", 1),
        ("call", 1),
        ("drop", [1]),
    ]
    assert worker.requests[4]["args"] == [{"l": [{"r": 1}]}]


def test_an_argument_that_cannot_be_sent_is_the_authors_fault(open_worker):
    with pytest.raises(AuthorError, match="set"):
        open_worker(value=None, tensors=[]).session.call(Call("f", {1}))


def test_what_a_child_uses_is_read_from_its_meter(open_worker):
    worker = open_worker(value=None, tensors=[])
    assert worker.session.usage() == FakeMeter.usage
    assert worker.session.metered
    worker.meter.counts = False
    assert not worker.session.metered


def test_loading_is_no_part_of_the_time_of_calls(open_worker):
    worker = open_worker(value=None, tensors=[])
    worker.session.load()
    assert worker.session.wall_ns == 0
    worker.session.call(Call("f"))
    assert worker.session.wall_ns > 0


def test_only_the_last_calls_memory_is_taken_back(open_worker):
    worker = open_worker(value=None, tensors=[])
    worker.session.reclaim_arguments()  # nothing was passed yet
    kept = torch.ones(5000)
    submission = []

    def make(tensors):
        submission.append(ArgumentMemory(tensors))
        return submission[-1]

    worker.memory.make_arguments = make
    for _ in range(2):
        worker.session.call(Call("f", kept))
    second = os.dup(submission[1].fd)
    worker.session.reclaim_arguments()
    assert os.fstat(second).st_blocks == 0
    assert kept.sum() == 5000
    os.close(second)
