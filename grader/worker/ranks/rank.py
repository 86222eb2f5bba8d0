"""One rank of a process group, asking several ranks at once, and what they have used together.

Ranks wait for each other inside collectives: when one has raised or ended, the others may never
return. They get `GRACE_SECONDS` more, not the whole limit. Whose fault it is that a rank does not
answer is decided in `worker.ranks.faults`.
"""

import math
import selectors
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from grader.assignment.steps import Value
from grader.assignment.table import Limits
from grader.errors import ChannelError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.intake.submission import Submission
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.worker.buffers import ReplyMemory, WorkerMemory
from grader.worker.channel import Channel, Composed
from grader.worker.messages import Json, Messages
from grader.worker.patience import Deadline

GRACE_SECONDS = 1.0
FAILURES = frozenset({"raised", "missing", "bad_reply"})
"""Keys of a reply from a rank that did not do what it was asked."""


Answer = dict[str, Json] | ChannelError
Request = tuple[dict[str, Json], tuple[int, ...]]
"""The fields of a request, and its descriptors."""


def post(
    channels: Mapping[int, Channel],
    requests: Mapping[int, Request],
    *,
    limit_s: float,
    thaw: Callable[[], None],
) -> tuple[dict[int, Composed], dict[int, Answer]]:
    """Put a request into each rank's socket; return those that are there, and others' errors.

    Args:
        channels: of the ranks, at least of those in `requests`.
        requests: what to ask, by rank.
        limit_s: seconds that a rank may take to read enough for the request to fit.
        thaw: lets the ranks run; a large request does not fit while a rank is frozen.
    """
    asked: dict[int, Composed] = {}
    broken: dict[int, Answer] = {}
    for rank, (request, _) in requests.items():
        try:
            asked[rank] = channels[rank].compose(request)
        except ChannelError as error:
            broken[rank] = error
    if any(composed.large for composed in asked.values()):
        thaw()
    for rank, composed in list(asked.items()):
        try:
            channels[rank].post(composed, fds=requests[rank][1], limit_s=limit_s)
        except ChannelError as error:
            broken[rank] = error
            del asked[rank]
    return asked, broken


def gather(
    channels: Mapping[int, Channel],
    asked: Mapping[int, Composed],
    *,
    deadline: Deadline,
) -> tuple[dict[int, Answer], float]:
    """Return the answers of all ranks in the order in which they came, and when the last one came.

    Args:
        channels: of the ranks, at least of those in `asked`.
        asked: the requests that are in the ranks' sockets, by rank.
        deadline: of all of them; a rank that does not answer gets a `CallTimeout`.
    """
    answers: dict[int, Answer] = {}
    grace_end_s = math.inf
    last_s = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for rank in asked:
            selector.register(channels[rank].fileno(), selectors.EVENT_READ, rank)
        ready = list(asked)  # a reply may be in a buffer already
        while True:
            for rank in ready:
                answer = _poll(channels[rank], asked[rank])
                if answer is None:
                    continue
                answers[rank] = answer
                last_s = time.perf_counter()
                selector.unregister(channels[rank].fileno())
                if isinstance(answer, ChannelError) or FAILURES & answer.keys():
                    grace_end_s = min(grace_end_s, last_s + GRACE_SECONDS)
            left_s = min(deadline.wait_s(), grace_end_s - time.perf_counter())
            if len(answers) == len(asked) or left_s <= 0:
                break
            ready = [key.data for key, _ in selector.select(left_s)]
    for rank in sorted(asked.keys() - answers.keys()):
        answers[rank] = deadline.error()
        last_s = time.perf_counter()
    return answers, last_s


def _poll(channel: Channel, composed: Composed) -> Answer | None:
    try:
        message = channel.poll()
        return None if message is None else channel.check(composed, message)
    except ChannelError as error:
        return error


NO_USAGE = Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)


@dataclass(slots=True)
class RanksMeter:
    """Adds up what the worlds of one worker use."""

    peaks: tuple[int, ...] = ()
    """Most memory that each rank of the last world held, bytes."""
    _ended: Usage = NO_USAGE
    _start: Usage = NO_USAGE

    def begin(self, readings: Sequence[Usage]) -> None:
        """Start counting a world: its ranks have joined, and the submission is imported."""
        self._start = _together(readings)

    def read(self, readings: Sequence[Usage]) -> Usage:
        """Return what all worlds so far have used, given the readings of the present one.

        Processor time is that of all ranks; memory that of the rank that held most, since its fork.
        """
        if not readings:
            return self._ended
        now = _together(readings)
        self.peaks = tuple(one.peak_bytes for one in readings)
        return Usage(
            cpu_ns=self._ended.cpu_ns + now.cpu_ns - self._start.cpu_ns,
            peak_bytes=max(self._ended.peak_bytes, now.peak_bytes),
            traffic_bytes=self._ended.traffic_bytes + now.traffic_bytes - self._start.traffic_bytes,
            ran_ns=self._ended.ran_ns + now.ran_ns - self._start.ran_ns,
            queued_ns=self._ended.queued_ns + now.queued_ns - self._start.queued_ns,
        )

    def end(self, readings: Sequence[Usage]) -> None:
        """Stop counting the present world."""
        self._ended = self.read(readings)
        self._start = NO_USAGE


def _together(readings: Sequence[Usage]) -> Usage:
    """Return the readings of a world; its ranks share one network, so each reads all its bytes."""
    return Usage(
        cpu_ns=sum(one.cpu_ns for one in readings),
        peak_bytes=max(one.peak_bytes for one in readings),
        traffic_bytes=readings[0].traffic_bytes,
        ran_ns=sum(one.ran_ns for one in readings),
        queued_ns=sum(one.queued_ns for one in readings),
    )


def _broken(error: ChannelError) -> Fault:
    message = f"its process answered in a broken form: {error}"
    return Fault(kind=FaultKind.BAD_REPLY, message=message)


BROKEN = Fault(kind=FaultKind.BAD_REPLY, message="its process answered in a broken form")


class Rank:
    """One rank with the submission loaded."""

    def __init__(
        self, child: ChildProcess, *, submission: Submission, limits: Limits, replies: ReplyMemory
    ) -> None:
        self.child = child
        self.channel = Channel(child, limits.output_bytes)
        self.messages = Messages(submission, WorkerMemory(replies), limits.reply_bytes)

    def value_of(self, answer: Answer) -> Value | Raised:
        """Return the value that an answer reports, or the exception; the group is frozen.

        Raises:
            Stopped: a name is missing, or the answer does not have the form of one.
        """
        try:
            if isinstance(answer, ChannelError):
                raise answer
            return self.messages.decode(answer)
        except Raised as raised:
            return raised
        except ChannelError as error:
            raise Stopped(_broken(error)) from error

    def note_load(self, answer: Answer) -> None:
        """Keep what the answer to `load` says of statements that raised.

        Raises:
            Stopped: the answer does not have the form of one.
        """
        try:
            self.messages.note_load(answer if isinstance(answer, dict) else {})
        except ChannelError as error:
            raise Stopped(_broken(error)) from error

    def failure_of(self, answer: Answer) -> Raised | Fault:
        """Return what an answer that reports a failure reports."""
        try:
            value = self.value_of(answer)
        except Stopped as stopped:
            return stopped.fault
        return value if isinstance(value, Raised) else BROKEN

    def close(self) -> None:
        """Release the judge's ends; the sandbox ends the process."""
        try:
            self.messages.close()
        finally:
            self.channel.close()
