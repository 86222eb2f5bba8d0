"""One rank of a process group, and what all ranks have used together.

A rank is asked like a `worker.session.Session`, but always together with the others: sending and
waiting is in `worker.ranks.ranks`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grader.assignment.steps import Value
from grader.assignment.table import Limits
from grader.errors import ChannelError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.intake.submission import Submission
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.worker.buffers import ReplyMemory, WorkerMemory
from grader.worker.channel import Channel
from grader.worker.messages import Messages
from grader.worker.ranks.gather import Answer

NOTHING = Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)


@dataclass(slots=True)
class RanksMeter:
    """Adds worlds up.

    Attributes:
        peaks: most memory that each rank of the last world held, bytes.
    """

    peaks: tuple[int, ...] = ()
    _ended: Usage = NOTHING
    _start: Usage = NOTHING

    def begin(self, readings: Sequence[Usage]) -> None:
        """Start to count a world: its ranks have joined, and the submission is imported."""
        self._start = _together(readings)

    def read(self, readings: Sequence[Usage]) -> Usage:
        """Return what all worlds so far have used, given the readings of the one that is there.

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
        )

    def end(self, readings: Sequence[Usage]) -> None:
        """Stop to count the world that is there."""
        self._ended = self.read(readings)
        self._start = NOTHING


def _together(readings: Sequence[Usage]) -> Usage:
    """Return the readings of a world: each of its ranks sees the bytes of their one network."""
    return Usage(
        cpu_ns=sum(one.cpu_ns for one in readings),
        peak_bytes=max(one.peak_bytes for one in readings),
        traffic_bytes=readings[0].traffic_bytes,
    )


BROKEN = Fault(kind=FaultKind.BAD_REPLY, message="its process answered in a broken form")


class Rank:
    """One rank with the submission loaded.

    Attributes:
        child: its process.
        channel: the judge's end of its socket.
        messages: its requests, its replies and the memory of their tensors.
    """

    def __init__(
        self, child: ChildProcess, *, submission: Submission, limits: Limits, replies: ReplyMemory
    ) -> None:
        self.child = child
        self.channel = Channel.to(child, limits.output_bytes)
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
            message = f"its process answered in a broken form: {error}"
            raise Stopped(Fault(kind=FaultKind.BAD_REPLY, message=message)) from error

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
