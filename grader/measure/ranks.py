"""A submission as ranks of a process group: asked together, frozen together, metered each.

Takes: a wall, a submission. Gives: `RankedBox`, which `measure.drive` runs cases in. Does not
cover: what a rank does (see `runner.rank`), whose fault it is when one stops (see
`measure.rank_faults`).

Every world is a set of fresh processes, so no case inherits what another left in the group: pending
collectives, streams, subgroups. Starting one is no part of any time; what is metered begins when
all ranks have joined and the submission is imported.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping

from grader.author.steps import Call, New, Ref, Value
from grader.errors import AuthorError, ChannelError, SandboxError
from grader.intake.submission import Submission
from grader.measure.box import Raised, Stopped
from grader.measure.buffers import ReplyMemory
from grader.measure.gather import GRACE_SECONDS, Answer, Request, gather, post
from grader.measure.group_meter import GroupMeter
from grader.measure.joining import join_group
from grader.measure.rank_faults import cannot_load, group_fault
from grader.measure.rank_session import RankSession
from grader.measure.requests import load_request
from grader.measure.session import Session
from grader.measure.timeline import RankTimeline, read_timelines
from grader.measure.without_device import WithoutDevice
from grader.plan.assignment import Limits
from grader.runner.order import NO_DENIAL, Denial
from grader.sandbox.meter import Usage
from grader.sandbox.wall import Wall

EACH_HINT = "say Each(...) for all ranks, or On(rank, ...) for one, after World(n)"


class RankedBox(WithoutDevice):
    """Where the ranks of one submission run, one world at a time.

    Attributes:
        wall_ns: time from request to last reply of all steps so far, on the judge's clock.
        alive: whether another world can be started.
        metered: whether processor time and memory of all ranks so far were counted.
    """

    def __init__(
        self,
        wall: Wall,
        submission: Submission,
        *,
        limits: Limits,
        most: int,
        denial: Denial,
        wire_rate: int = 0,
        record: bool = False,
    ) -> None:
        self._wall = wall
        self._submission = submission
        self._limits = limits
        self._most = most
        self._denial = denial
        self._wire_rate = wire_rate
        self._record = record
        self._harness = ""
        self._ranks: tuple[RankSession, ...] = ()
        self._stack = contextlib.ExitStack()
        self._frozen = False
        self._last_ns = 0  # from request to last reply
        self._output = ""
        self._meter = GroupMeter()
        self.wall_ns = 0
        self.alive = True
        self.metered = True

    @property
    def size(self) -> int:
        """Ranks of the world that is there; 0 if there is none."""
        return len(self._ranks)

    def load(self, harness: str) -> None:
        """Remember the harness; every world imports it and the submission."""
        self._harness = harness

    def world(self, size: int) -> None:
        """End the world that is there and start one of `size` ranks, with the submission imported.

        Raises:
            AuthorError: if the problem has no world of that size.
            Stopped: the submission cannot be imported, or a rank failed.
            SandboxError: if the ranks cannot be had.
        """
        if not 1 <= size <= self._most:
            raise AuthorError(f"World({size}) in a problem whose `ranks` is {self._most}")
        self._end_world()
        self._open(size)
        join_group(
            self._ranks,
            self._exchange,
            call_wall_s=self._limits.call_wall_s,
            record=self._record,
            said=self.take_output,
        )
        load = load_request(self._submission, self._harness)
        answers = self._exchange(dict.fromkeys(range(size), (load, ())), self._limits.load_wall_s)
        for rank, session in enumerate(self._ranks):
            value = session.value_of(answers[rank])
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
                self._wall.ranks(fds, self._denial, wire_rate=self._wire_rate)
            )
            self._ranks = tuple(
                RankSession(
                    self._wall,
                    child,
                    submission=self._submission,
                    limits=self._limits,
                    reply_memory=memory,
                )
                for child, memory in zip(children, memories, strict=True)
            )
            self.metered = self.metered and all(rank.metered for rank in self._ranks)
            self._stack = stack.pop_all()

    def new(self, ref: Ref, step: New) -> None:
        """Refuse: which rank is meant must be said."""
        raise AuthorError(f"New({step.name!r}) in a problem with ranks", hint=EACH_HINT)

    def call(self, step: Call) -> Value:
        """Refuse: which rank is meant must be said."""
        raise AuthorError(f"Call({step.target!r}) in a problem with ranks", hint=EACH_HINT)

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> dict[int, Value | Raised]:
        """Ask several ranks at once; return what each replied or raised, who came first first.

        Raises:
            Stopped: if one ended, hangs, changed an input or answered nothing of use.
        """
        requests = {rank: self._ranks[rank].request(step, ref) for rank, step in steps.items()}
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
            self._ranks[rank].refuse_changed(step)
        return replies

    def recorded(self) -> tuple[RankTimeline, ...]:
        """Return what the ranks say they did since the last time; they were opened to record it.

        Raises:
            Stopped: if one ended, or answered in another form.
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
            rank.overwrite_arguments()

    def reclaim_arguments(self) -> None:
        """Take the memory of the tensors of every rank's last call back."""
        for rank in self._ranks:
            rank.reclaim_arguments()

    def usage(self) -> Usage:
        """Return what all worlds have used, starts left out; of memory, the most of any rank.

        Raises:
            SandboxError: if the kernel does not tell.
        """
        return self._meter.read(self._readings())

    def rank_peaks(self) -> tuple[int, ...]:
        """Return the most memory that each rank of the last world held, bytes."""
        self.usage()
        return self._meter.peaks

    def _readings(self) -> list[Usage]:
        return [rank.usage() for rank in self._ranks]

    def end_case(self) -> None:
        """End the world: the next case starts its own."""
        self._end_world()

    def take_output(self) -> str:
        """Return what the ranks printed since the last time, capped, each under its number."""
        for number, rank in enumerate(self._ranks):
            self._hear(number, rank)
        said, self._output = self._output, ""
        return said

    def close(self) -> None:
        """End the world that is there."""
        self._end_world()

    def _hear(self, number: int, rank: RankSession) -> None:
        said = rank.take_output()
        room = max(self._limits.output_bytes - len(self._output), 0)
        if said:
            self._output += f"[rank {number}]\n{said.rstrip()}\n"[:room]

    def _end_world(self) -> None:
        if not self._ranks:
            return
        with contextlib.suppress(SandboxError):
            self._meter.end(self._readings())
        ranks, self._ranks = self._ranks, ()
        self._frozen = False
        try:
            for number, rank in enumerate(ranks):
                self._hear(number, rank)
                rank.close()
        finally:
            self._stack.close()
            self.alive = self._wall.usable

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
            raise Stopped(group_fault(self._wall, self._submission, self._ranks, answers))
        self._wall.freeze()
        self._frozen = True
        return answers

    def _thaw(self) -> None:
        if self._frozen:
            self._wall.thaw()
            self._frozen = False


AnySession = Session | RankedBox
"""A box of its own, or one for worlds of ranks."""


@contextlib.contextmanager
def open_ranks(
    wall: Wall,
    submission: Submission,
    *,
    limits: Limits,
    most: int,
    denial: Denial = NO_DENIAL,
    wire_rate: int = 0,
    record: bool = False,
) -> Iterator[RankedBox]:
    """Give a box for worlds of at most `most` ranks; whatever is there ends with the block.

    `wire_rate`, if not 0, is what their wire carries, bytes per second; `record`: see `recorded`.

    Raises:
        SandboxError: if a world cannot be ended.
    """
    box = RankedBox(
        wall,
        submission,
        limits=limits,
        most=most,
        denial=denial,
        wire_rate=wire_rate,
        record=record,
    )
    with contextlib.closing(box):
        yield box
