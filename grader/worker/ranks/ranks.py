"""A submission as ranks of a process group: asked together, frozen together, each with a meter.

Every world is a set of new processes, so that no case inherits what another left in the process
group: pending collectives, streams, subgroups. Starting a world is not part of any time; its use of
the machine counts once all ranks have joined and the submission is imported. What a rank does is in
`runner.ranks.rank`, whose fault it is when one stops in `worker.ranks.faults`.
"""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Self

from grader.assignment.steps import Call, New, Ref, Value
from grader.assignment.table import Limits
from grader.errors import AuthorError, ChannelError, DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import LOAD_ENDERS, LoadFailure, Raised, Stopped
from grader.evidence.samples import DeviceClaim
from grader.evidence.timeline import RankTimeline, read_timelines
from grader.intake.submission import SourceFile, Submission
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import ReplyMemory
from grader.worker.messages import Json, load_request
from grader.worker.patience import CompileAllowance, Deadline
from grader.worker.ranks.faults import cannot_load, ranks_fault
from grader.worker.ranks.rank import GRACE_SECONDS, Answer, Rank, RanksMeter, Request, gather, post
from grader.worker.session import Session

JOIN_SECONDS = 30.0
COLLECTIVE_SLACK = 10.0
"""Seconds that a collective may wait longer than a step: the judge ends a hang, not gloo."""

EACH_HINT = "after World(n), use Each(...) for all ranks, or On(rank, ...) for one"


class RankedWorker:
    """The ranks of one submission, one world of at most `most` ranks at a time.

    The present one ends with the `with` block; a `SandboxError` if it cannot be ended.
    `network_rate`, if not 0, limits the ranks' network, in bytes per second; for `record` see
    `recorded`.

    Attributes:
        wall_ns: time from request to last reply, over all steps so far, on the judge's clock.
        charged_ns: what counts towards a limit: without the time that others took of it.
        load_ns: time in which worlds imported the submission, counted in the same way.
        alive: whether another world can be started.
        metered: whether processor time and memory of all ranks so far were counted.
        failures: statements of the submission that raised when the last world loaded it.
        sliced: whether only the statements that the problem needs are loaded, because a load of
            all of them ended a world.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        submission: Submission,
        *,
        limits: Limits,
        most: int,
        denial: Denial = NO_DENIAL,
        network_rate: int = 0,
        record: bool = False,
    ) -> None:
        self._sandbox = sandbox
        self._submission = submission
        self._limits = limits
        self._most = most
        self._denial = denial
        self._network_rate = network_rate
        self._record = record
        self._harness: Sequence[SourceFile] = ()
        self._ranks: tuple[Rank, ...] = ()
        self._stack = contextlib.ExitStack()
        self._frozen = False
        self._last_ns = 0  # from request to last reply
        self._deadline: Deadline | None = None  # of the last request
        self._allowance = CompileAllowance(limits, compiles=False)  # each world has its own
        self._output = ""
        self._meter = RanksMeter()
        self.wall_ns = 0
        self.charged_ns = 0
        self.load_ns = 0
        self.alive = True
        self.metered = True
        self.failures: tuple[LoadFailure, ...] = ()
        self.sliced = submission.sliced

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.end_case()

    @property
    def size(self) -> int:
        """Ranks of the present world; 0 if there is none."""
        return len(self._ranks)

    def load(self, harness: Sequence[SourceFile] = ()) -> None:
        """Remember the harness; every world imports it and the submission."""
        self._harness = harness

    def world(self, size: int) -> None:
        """End the present world and start one of `size` ranks, with the submission imported.

        Raises:
            AuthorError: if the problem has fewer ranks.
            Stopped: if the submission cannot be imported, or a rank failed.
            SandboxError: if the ranks cannot be started, or cannot join.
        """
        if not 1 <= size <= self._most:
            raise AuthorError(
                f"World({size}) in a problem whose `ranks` is {self._most}",
                hint="use a world of 1 to `ranks` ranks, or change `ranks` in assignment.toml",
            )
        try:
            self._start(size)
        except Stopped as stopped:
            if self.sliced or stopped.fault.kind not in LOAD_ENDERS or not self._submission.needs:
                raise
            self.sliced = True
            self._start(size)

    def _start(self, size: int) -> None:
        self.end_case()
        self._open(size)
        self._join()
        self._allowance = CompileAllowance(self._limits, compiles=self._submission.compiles())
        load = load_request(replace(self._submission, sliced=self.sliced), self._harness)
        limit_s = self._limits.load_wall_s
        try:
            answers = self._exchange(
                {rank: (load, ()) for rank in range(size)}, limit_s + self._allowance.left_s
            )
        finally:
            self.load_ns += self._last_charged_ns(limit_s)
        for number, rank in enumerate(self._ranks):
            value = rank.value_of(answers[number])
            if isinstance(value, Raised):
                raise Stopped(cannot_load(value))
            rank.note_load(answers[number])
        self.failures = self._ranks[0].messages.failures
        self._meter.begin(self._readings())

    def _open(self, size: int) -> None:
        with contextlib.ExitStack() as stack:
            memories = [ReplyMemory(self._limits.reply_bytes) for _ in range(size)]
            for memory in memories:
                stack.callback(memory.close)
            fds = [memory.fd for memory in memories]
            children = stack.enter_context(
                self._sandbox.ranks(fds, self._denial, network_rate=self._network_rate)
            )
            self._ranks = tuple(
                Rank(child, submission=self._submission, limits=self._limits, replies=memory)
                for child, memory in zip(children, memories, strict=True)
            )
            self.metered = self.metered and all(rank.child.meter.counts for rank in self._ranks)
            self._stack = stack.pop_all()

    def _join(self) -> None:
        """Let the ranks join a process group, before anything of the submission is imported."""
        answers = self._exchange({0: ({"op": "listen"}, ())}, JOIN_SECONDS)
        port = self._ranks[0].value_of(answers[0])
        if type(port) is not int:
            raise SandboxError(f"rank 0 could not listen: {port}", hint=self.take_output()[-800:])
        silence_s = max(self._limits.call_wall_s + COLLECTIVE_SLACK, JOIN_SECONDS)
        join = {"op": "join", "port": port, "seconds": silence_s, "record": self._record}
        for rank, value in enumerate(self._ask_all(join, JOIN_SECONDS)):
            if value is not None:
                raise SandboxError(f"rank {rank} could not join its group: {value}")

    def new(self, ref: Ref, step: New) -> None:
        """Raise `AuthorError`: a step must name its rank."""
        raise AuthorError(
            f"New({step.name!r}) names no rank, in a problem with ranks", hint=EACH_HINT
        )

    def call(self, step: Call) -> Value:
        """Raise `AuthorError`: a step must name its rank."""
        raise AuthorError(
            f"Call({step.target!r}) names no rank, in a problem with ranks", hint=EACH_HINT
        )

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> dict[int, Value | Raised]:
        """Ask several ranks at once; return what each replied or raised, in order of the replies.

        Raises:
            Stopped: if one ended, hangs, changed an input, or gave a broken answer.
        """
        new_ref = ref.id if ref else 0
        requests = {
            rank: self._ranks[rank].messages.encode(step, new_ref=new_ref)
            for rank, step in steps.items()
        }
        limit_s = self._limits.call_wall_s
        try:
            answers = self._exchange(requests, limit_s + self._allowance.left_s)
        finally:
            self.wall_ns += self._last_ns
            self.charged_ns += self._last_charged_ns(limit_s)
        replies: dict[int, Value | Raised] = {}
        for rank, answer in answers.items():
            value = self._ranks[rank].value_of(answer)
            if isinstance(value, Raised):
                value.who = f"rank {rank}"
            replies[rank] = value
        for rank, step in steps.items():
            self._ranks[rank].messages.refuse_changed(step)
        return replies

    def recorded(self) -> tuple[RankTimeline, ...]:
        """Return what the ranks recorded since the last time; they were opened with `record`.

        Raises:
            Stopped: if one ended, or gave a broken answer.
        """
        return read_timelines(self._ask_all({"op": "recorded"}, self._limits.call_wall_s))

    def drop(self, ref: Ref) -> None:
        """Forget an object on every rank."""
        request = {"op": "drop", "refs": [ref.id]}
        self._exchange({rank: (request, ()) for rank in range(self.size)}, self._limits.call_wall_s)

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors of every rank's last call; all are frozen meanwhile."""
        for rank in self._ranks:
            rank.messages.overwrite_arguments()

    def reclaim_arguments(self) -> None:
        """Take the memory of the tensors of every rank's last call back."""
        for rank in self._ranks:
            rank.messages.reclaim_arguments()

    def usage(self) -> Usage:
        """Return what all worlds have used, without their starts; of memory, the most of any rank.

        Raises:
            SandboxError: if Linux does not tell.
        """
        return self._meter.read(self._readings())

    def rank_peaks(self) -> tuple[int, ...]:
        """Return the most memory that each rank of the last world held, bytes."""
        self.usage()
        return self._meter.peaks

    def claims(self) -> tuple[DeviceClaim, ...]:
        """Return nothing: ranks compute on the processor."""
        return ()

    def device_states(self) -> tuple[DeviceState, ...]:
        """Return nothing: there is no device."""
        return ()

    def limit_memory(self, limit_bytes: int) -> int:
        """Raise `DeviceError`: there is no device."""
        raise DeviceError(f"no device whose memory could be limited to {limit_bytes} bytes")

    def release(self) -> None:
        """Do nothing: there is no limit."""

    def _readings(self) -> list[Usage]:
        return [rank.child.meter.read() for rank in self._ranks]

    def take_output(self) -> str:
        """Return what the ranks printed since the last time, up to the limit, by rank."""
        for number, rank in enumerate(self._ranks):
            self._capture(number, rank)
        output, self._output = self._output, ""
        return output

    def _capture(self, number: int, rank: Rank) -> None:
        output = rank.channel.take_output()
        left = max(self._limits.output_bytes - len(self._output), 0)
        if output:
            self._output += f"[rank {number}]\n{output.rstrip()}\n"[:left]

    def end_case(self) -> None:
        """End the world: the next case starts its own."""
        if not self._ranks:
            return
        with contextlib.suppress(SandboxError):
            self._meter.end(self._readings())
        ranks, self._ranks = self._ranks, ()
        self._frozen = False
        try:
            for number, rank in enumerate(ranks):
                self._capture(number, rank)
                rank.close()
        finally:
            self._stack.close()
            self.alive = self._sandbox.usable

    def _ask_all(self, request: dict[str, Json], limit_s: float) -> list[Value | Raised]:
        """Ask every rank the same; return what each replied or raised, by rank."""
        answers = self._exchange({rank: (request, ()) for rank in range(self.size)}, limit_s)
        return [rank.value_of(answers[number]) for number, rank in enumerate(self._ranks)]

    def _exchange(self, requests: Mapping[int, Request], limit_s: float) -> dict[int, Answer]:
        """Send every request, let all ranks run, and return the answers, all ranks frozen again.

        Raises:
            Stopped: if a rank ended, hangs, or broke the protocol.
        """
        self._last_ns, self._deadline = 0, None
        channels = {rank: self._ranks[rank].channel for rank in requests}
        asked, broken = post(channels, requests, limit_s=limit_s, thaw=self._thaw)
        begin_ns = time.perf_counter_ns()
        self._thaw()
        limit_s = GRACE_SECONDS if broken else limit_s
        meters = tuple(rank.child.meter for rank in self._ranks)
        self._deadline = Deadline(limit_s, meters, begin_ns / 1e9)
        answers, last_s = gather(channels, asked, deadline=self._deadline)
        self._last_ns = round(last_s * 1e9) - begin_ns
        answers = broken | answers
        if any(isinstance(answer, ChannelError) for answer in answers.values()):
            raise Stopped(ranks_fault(self._sandbox, self._submission, self._ranks, answers))
        self._sandbox.freeze()
        self._frozen = True
        return answers

    def _last_charged_ns(self, limit_s: float) -> int:
        lost_ns = self._deadline.lost_ns() if self._deadline else 0
        charged_ns = max(self._last_ns - lost_ns, 0)
        return charged_ns - self._allowance.spend(charged_ns, limit_s)

    def _thaw(self) -> None:
        if self._frozen:
            self._sandbox.thaw()
            self._frozen = False


AnySession = Session | RankedWorker
"""A worker alone, or one for worlds of ranks; both run cases and are measured alike."""
