"""A submission as ranks of a process group: asked together, frozen together, each with a meter.

Every world is a set of new processes, so that no case inherits what another left in the process
group: pending collectives, streams, subgroups. Starting a world is not part of any time; its use of
the machine counts once all ranks have joined and the submission is imported. What a rank does is in
`runner.ranks.rank`, whose fault it is when one stops in `worker.ranks.faults`.
"""

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence

from grader.assignment.steps import Call, New, Ref, Value
from grader.assignment.table import Limits
from grader.errors import AuthorError, ChannelError, DeviceError, SandboxError
from grader.evidence.device import DeviceState
from grader.evidence.faults import Raised, Stopped
from grader.evidence.samples import DeviceClaim
from grader.evidence.timeline import RankTimeline, read_timelines
from grader.intake.submission import SourceFile, Submission
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.meter import Usage
from grader.sandbox.sandbox import Sandbox
from grader.worker.buffers import ReplyMemory
from grader.worker.messages import load_request
from grader.worker.ranks.faults import cannot_load, ranks_fault
from grader.worker.ranks.rank import GRACE_SECONDS, Answer, Rank, RanksMeter, Request, gather, post
from grader.worker.session import Session

JOIN_SECONDS = 30.0
COLLECTIVE_SLACK = 10.0
"""Seconds that a collective may wait longer than a step: the judge ends a hang, not gloo."""

Exchange = Callable[[Mapping[int, Request], float], dict[int, Answer]]


def join_group(
    ranks: Sequence[Rank],
    exchange: Exchange,
    *,
    call_wall_s: float,
    record: bool,
    take_output: Callable[[], str],
) -> None:
    """Let the ranks join a process group, before anything of the submission is imported.

    Args:
        ranks: in order.
        exchange: asks some ranks, for at most so many seconds, and returns their answers.
        call_wall_s: seconds that a step may take.
        record: whether the ranks record when they do what.
        take_output: returns what they printed, for the error.

    Raises:
        SandboxError: if they cannot.
    """
    answers = exchange({0: ({"op": "listen"}, ())}, JOIN_SECONDS)
    port = ranks[0].value_of(answers[0])
    if type(port) is not int:
        raise SandboxError(f"rank 0 could not listen: {port}", hint=take_output()[-800:])
    silence_s = max(call_wall_s + COLLECTIVE_SLACK, JOIN_SECONDS)
    join = {"op": "join", "port": port, "seconds": silence_s, "record": record}
    answers = exchange({rank: (join, ()) for rank in range(len(ranks))}, JOIN_SECONDS)
    for rank, member in enumerate(ranks):
        value = member.value_of(answers[rank])
        if value is not None:
            raise SandboxError(f"rank {rank} could not join its group: {value}")


EACH_HINT = "after World(n), use Each(...) for all ranks, or On(rank, ...) for one"


class RankedWorker:
    """The ranks of one submission, one world at a time.

    Attributes:
        wall_ns: time from request to last reply, over all steps so far, on the judge's clock.
        alive: whether another world can be started.
        metered: whether processor time and memory of all ranks so far were counted.
    """

    def __init__(
        self,
        sandbox: Sandbox,
        submission: Submission,
        *,
        limits: Limits,
        most: int,
        denial: Denial,
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
        self._output = ""
        self._meter = RanksMeter()
        self.wall_ns = 0
        self.alive = True
        self.metered = True

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
            SandboxError: if the ranks cannot be started.
        """
        if not 1 <= size <= self._most:
            raise AuthorError(
                f"World({size}) in a problem whose `ranks` is {self._most}",
                hint="use a world of 1 to `ranks` ranks, or change `ranks` in assignment.toml",
            )
        self._end_world()
        self._open(size)
        join_group(
            self._ranks,
            self._exchange,
            call_wall_s=self._limits.call_wall_s,
            record=self._record,
            take_output=self.take_output,
        )
        load = load_request(self._submission, self._harness)
        answers = self._exchange(dict.fromkeys(range(size), (load, ())), self._limits.load_wall_s)
        for rank, member in enumerate(self._ranks):
            value = member.value_of(answers[rank])
            if isinstance(value, Raised):
                raise Stopped(cannot_load(value))
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
                Rank(
                    child,
                    submission=self._submission,
                    limits=self._limits,
                    replies=memory,
                )
                for child, memory in zip(children, memories, strict=True)
            )
            self.metered = self.metered and all(rank.child.meter.counts for rank in self._ranks)
            self._stack = stack.pop_all()

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
        self._last_ns = 0
        try:
            answers = self._exchange(requests, self._limits.call_wall_s)
        finally:
            self.wall_ns += self._last_ns
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
        asked = {rank: ({"op": "recorded"}, ()) for rank in range(self.size)}
        answers = self._exchange(asked, self._limits.call_wall_s)
        return read_timelines(self._ranks[rank].value_of(answers[rank]) for rank in sorted(answers))

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

    def end_case(self) -> None:
        """End the world: the next case starts its own."""
        self._end_world()

    def take_output(self) -> str:
        """Return what the ranks printed since the last time, up to the limit, by rank."""
        for number, rank in enumerate(self._ranks):
            self._capture(number, rank)
        output, self._output = self._output, ""
        return output

    def close(self) -> None:
        """End the present world."""
        self._end_world()

    def _capture(self, number: int, rank: Rank) -> None:
        output = rank.channel.take_output()
        left = max(self._limits.output_bytes - len(self._output), 0)
        if output:
            self._output += f"[rank {number}]\n{output.rstrip()}\n"[:left]

    def _end_world(self) -> None:
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

    def _exchange(self, requests: Mapping[int, Request], limit_s: float) -> dict[int, Answer]:
        """Send every request, let all ranks run, and return the answers, all ranks frozen again.

        Raises:
            Stopped: if a rank ended, hangs, or broke the protocol.
        """
        channels = {rank: self._ranks[rank].channel for rank in requests}
        asked, broken = post(channels, requests, limit_s=limit_s, thaw=self._thaw)
        begin_ns = time.perf_counter_ns()
        self._thaw()
        answers, last_s = gather(
            asked, begin_s=begin_ns / 1e9, limit_s=GRACE_SECONDS if broken else limit_s
        )
        self._last_ns = round(last_s * 1e9) - begin_ns
        answers = broken | answers
        if any(isinstance(answer, ChannelError) for answer in answers.values()):
            raise Stopped(ranks_fault(self._sandbox, self._submission, self._ranks, answers))
        self._sandbox.freeze()
        self._frozen = True
        return answers

    def _thaw(self) -> None:
        if self._frozen:
            self._sandbox.thaw()
            self._frozen = False


AnySession = Session | RankedWorker
"""A worker alone, or one for worlds of ranks; both run cases and are measured alike."""


@contextlib.contextmanager
def open_ranks(
    sandbox: Sandbox,
    submission: Submission,
    *,
    limits: Limits,
    most: int,
    denial: Denial = NO_DENIAL,
    network_rate: int = 0,
    record: bool = False,
) -> Iterator[RankedWorker]:
    """Yield a worker for worlds of at most `most` ranks; the present one ends with the block.

    `network_rate`, if not 0, limits their network, in bytes per second; for `record` see
    `recorded`.

    Raises:
        SandboxError: if a world cannot be ended.
    """
    worker = RankedWorker(
        sandbox,
        submission,
        limits=limits,
        most=most,
        denial=denial,
        network_rate=network_rate,
        record=record,
    )
    with contextlib.closing(worker):
        yield worker
