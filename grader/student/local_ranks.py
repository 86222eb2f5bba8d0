"""A process group without a sandbox: its ranks are forks of this process, on a student's machine.

`correctness.drive` runs cases in it. It protects nothing, so nothing measured here counts for a
grade. Each world is a set of fresh forks that join a process group over the loopback. In grading
the group exists before the submission is imported; here the submission is imported first. Limits
are held by `student.public_run`.
"""

import contextlib
import datetime
import os
import selectors
import socket
import sys
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import FileStore

from grader.assignment.steps import Call, New, Ref, Value
from grader.errors import AuthorError
from grader.evidence.faults import (
    Fault,
    FaultKind,
    LoadFailure,
    Raised,
    Stopped,
    explain_raised,
    fault_of,
    raised_together,
    unreadable,
)
from grader.judge.rule import name_ranks
from grader.runner import protocol
from grader.runner.protocol import Json
from grader.student.local_worker import REPLY_BYTES, LocalWorker
from grader.student.trace import from_json, one_from_json, step_to_json, to_json

COLLECTIVE_SECONDS = 60
GRACE_SECONDS = 2.0
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"

Namespace = Mapping[str, Value]
Locate = Callable[[BaseException], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Member:
    pid: int
    sock: socket.socket


class LocalRanks:
    """Runs requests in forks of this process, one per rank."""

    def __init__(
        self,
        submission: Namespace,
        harness: Namespace,
        *,
        most: int,
        locate: Locate | None = None,
        failures: Sequence[LoadFailure] = (),
        reply_bytes: int = REPLY_BYTES,
    ) -> None:
        self._submission = submission
        self._reply_bytes = reply_bytes
        self._harness = harness
        self._most = most
        self._locate = locate
        self._failures = failures
        self._members: tuple[_Member, ...] = ()
        self.wall_ns = 0

    @property
    def size(self) -> int:
        """Ranks of the current world."""
        return len(self._members)

    def world(self, size: int) -> None:
        """End the current world and fork another.

        Raises:
            AuthorError: if the problem allows no world of that size.
            Stopped: if this machine cannot fork, or the ranks cannot connect to each other.
        """
        if not 1 <= size <= self._most:
            raise AuthorError(f"World({size}) in a problem whose `ranks` is {self._most}")
        if not hasattr(os, "fork") or not dist.is_gloo_available():
            message = "several processes need Linux, macOS or WSL, and a torch with gloo"
            raise Stopped(Fault(kind=FaultKind.INFRASTRUCTURE, message=message))
        self.close()
        with tempfile.TemporaryDirectory(prefix="grader-ranks-") as folder:
            store = Path(folder) / "store"
            members: list[_Member] = []
            for rank in range(size):
                members.append(self._fork(rank, size, store, members))
            self._members = tuple(members)
            for answer in self._collect(range(size)).values():
                if "joined" not in answer:
                    message = f"the ranks could not connect to each other: {answer}"
                    raise Stopped(Fault(kind=FaultKind.INFRASTRUCTURE, message=message))

    def new(self, ref: Ref, step: New) -> None:
        """Refuse: a step must say which rank it is for."""
        raise AuthorError(f"New({step.name!r}) in a problem with ranks")

    def call(self, step: Call) -> Value:
        """Refuse: a step must say which rank it is for."""
        raise AuthorError(f"Call({step.target!r}) in a problem with ranks")

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> dict[int, Value | Raised]:
        """Ask several ranks at once; return what each replied or raised, in order of arrival.

        Raises:
            Stopped: if a rank ended, waited in vain for the others, or changed an input.
        """
        begin_ns = time.perf_counter_ns()
        number = ref.id if ref else 0
        answers = self._exchange(
            {rank: {"step": step_to_json(step), "ref": number} for rank, step in steps.items()}
        )
        self.wall_ns += time.perf_counter_ns() - begin_ns
        replies = {rank: _reply(rank, answer, self._failures) for rank, answer in answers.items()}
        waiting = sorted(steps.keys() - replies.keys())
        if waiting and any(isinstance(reply, Raised) for reply in replies.values()):
            raise Stopped(_fault_of_some(replies, waiting))
        return replies

    def drop(self, ref: Ref) -> None:
        """Forget an object on every rank."""
        self._tell_all({"drop": ref.id})

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to each rank's last call."""
        self._tell_all({"overwrite": True})

    def reclaim_arguments(self) -> None:
        """Set the tensors passed to each rank's last call to zero."""
        self._tell_all({"reclaim": True})

    def close(self) -> None:
        """End the current world."""
        members, self._members = self._members, ()
        for member in members:
            member.sock.close()
            with contextlib.suppress(ProcessLookupError):
                os.kill(member.pid, 9)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(member.pid, 0)

    def __del__(self) -> None:
        """End the world that an interrupted case has left."""
        self.close()

    def _fork(self, rank: int, size: int, store: Path, others: list[_Member]) -> _Member:
        ours, theirs = socket.socketpair()
        sys.stdout.flush()
        with warnings.catch_warnings():
            # Python warns of forks beside threads; torch starts no threads in a fork here.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid:
            theirs.close()
            return _Member(pid=pid, sock=ours)
        try:
            ours.close()
            for other in others:
                other.sock.close()
            worker = LocalWorker(
                self._submission,
                self._harness,
                locate=self._locate,
                failures=self._failures,
                reply_bytes=self._reply_bytes,
            )
            _serve(theirs, worker, rank=rank, size=size, store=store)
        finally:
            os._exit(0)

    def _tell_all(self, request: dict[str, Json]) -> None:
        self._exchange(dict.fromkeys(range(self.size), request))

    def _exchange(self, requests: Mapping[int, dict[str, Json]]) -> dict[int, dict[str, Json]]:
        for rank, request in requests.items():
            try:
                protocol.send(self._members[rank].sock, request)
            except OSError as error:
                raise Stopped(_crash(rank)) from error
        return self._collect(requests)

    def _collect(self, ranks: Collection[int]) -> dict[int, dict[str, Json]]:
        """Return the answers; once one has failed, the others get `GRACE_SECONDS` more."""
        answers: dict[int, dict[str, Json]] = {}
        left_s: float | None = None
        with selectors.DefaultSelector() as selector:
            for rank in ranks:
                selector.register(self._members[rank].sock, selectors.EVENT_READ, rank)
            while len(answers) < len(ranks):
                ready = selector.select(left_s)
                if not ready:
                    break
                for key, _ in ready:
                    rank = key.data
                    try:
                        answers[rank] = _receive(self._members[rank].sock)
                    except (protocol.ProtocolError, OSError):
                        raise Stopped(_crash(rank)) from None
                    selector.unregister(key.fileobj)
                    if answers[rank].keys() & {"raised", "fault"}:
                        left_s = GRACE_SECONDS
        return answers


def local_worker(
    ranks: int,
    submission: Namespace,
    harness: Namespace,
    *,
    locate: Locate | None = None,
    failures: Sequence[LoadFailure] = (),
    reply_bytes: int = REPLY_BYTES,
) -> LocalWorker | LocalRanks:
    """Return a worker, or one for a process group of at most `ranks` if that is not 0."""
    open_ = partial(LocalRanks, most=ranks) if ranks else LocalWorker
    return open_(submission, harness, locate=locate, failures=failures, reply_bytes=reply_bytes)


def _serve(sock: socket.socket, worker: LocalWorker, *, rank: int, size: int, store: Path) -> None:
    """Answer the requests to one rank until the other end is closed."""
    torch.set_num_threads(1)  # the fork did not inherit torch's thread pool
    os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK)
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(size))
    requests: SimpleQueue[dict[str, Json]] = SimpleQueue()
    # The process ends with its parent, even inside a collective that no other rank joins.
    threading.Thread(target=_watch, args=(sock, requests), daemon=True).start()
    dist.init_process_group(
        "gloo",
        store=FileStore(str(store), size),
        rank=rank,
        world_size=size,
        timeout=datetime.timedelta(seconds=COLLECTIVE_SECONDS),
    )
    protocol.send(sock, {"joined": rank})
    while True:
        protocol.send(sock, _answer(requests.get(), worker))


def _watch(sock: socket.socket, requests: SimpleQueue[dict[str, Json]]) -> None:
    while True:
        try:
            requests.put(_receive(sock))
        except (protocol.ProtocolError, OSError):
            os._exit(0)


def _receive(sock: socket.socket) -> dict[str, Json]:
    message, _ = protocol.receive(sock, max_bytes=protocol.MAX_REQUEST_BYTES)
    return message


def _answer(request: dict[str, Json], worker: LocalWorker) -> dict[str, Json]:
    try:
        if "drop" in request:
            worker.drop(Ref(request["drop"]))
        elif "overwrite" in request:
            worker.overwrite_arguments()
        elif "reclaim" in request:
            worker.reclaim_arguments()
        else:
            step = one_from_json(request["step"])
            if isinstance(step, Call):
                return {"value": to_json(worker.call(step))}
            worker.new(Ref(request["ref"]), step)
    except Raised as raised:
        return {"raised": [list(raised.names), raised.text, raised.where, raised.stack]}
    except Stopped as stopped:
        fault = stopped.fault
        return {"fault": [fault.kind, fault.message, fault.detail, fault.where]}
    except TypeError as error:
        fault = unreadable(str(error))
        return {"fault": [fault.kind, fault.message, fault.detail, fault.where]}
    return {"value": None}


def _reply(rank: int, answer: dict[str, Json], failures: Sequence[LoadFailure]) -> Value | Raised:
    if "raised" in answer:
        names, text, where, stack = answer["raised"]
        raised = Raised(tuple(names), text, where, who=f"rank {rank}")
        raised.stack = stack
        raised.because = explain_raised(names, text, failures)
        return raised
    if "fault" in answer:
        kind, message, detail, where = answer["fault"]
        message = f"rank {rank}: {message}"
        raise Stopped(Fault(kind=FaultKind(kind), message=message, detail=detail, where=where))
    return from_json(answer["value"])


def _fault_of_some(replies: Mapping[int, Value | Raised], waiting: Sequence[int]) -> Fault:
    """Return the fault of ranks that raised while others waited for them, with every stack."""
    first = raised_together({**replies, **dict.fromkeys(waiting)})
    stacks = tuple(
        replace(stack, state="had not returned") if stack.rank in waiting else stack
        for stack in first.stacks
    )
    fault = fault_of(first)
    message = f"{fault.message}; {name_ranks(waiting)} waited for it"
    return replace(fault, message=message, stacks=stacks)


def _crash(rank: int) -> Fault:
    return Fault(kind=FaultKind.CRASH, message=f"rank {rank}: its process exited early")
