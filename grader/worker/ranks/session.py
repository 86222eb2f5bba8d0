"""One rank of a group: as `worker.session`, but asked together with the others.

Takes: a rank's process. Gives: `RankSession`: its requests, and what its answers are worth. Does
not cover: sending and waiting (see `worker.ranks.ranks`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

from grader.assignment.steps import Call, New, Ref, Value
from grader.errors import ChannelError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.sandbox.child_process import ChildProcess
from grader.sandbox.meter import Usage
from grader.worker.channel import Channel
from grader.worker.ranks.gather import Answer, Json
from grader.worker.requests import call_request, new_request
from grader.worker.session import Session

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


class RankSession(Session):
    """One rank with the submission loaded."""

    @property
    def channel(self) -> Channel:
        """The judge's end of its socket."""
        return self._channel

    @property
    def child(self) -> ChildProcess:
        """Its process."""
        return self._child

    def request(self, step: New | Call, ref: Ref | None) -> tuple[dict[str, Json], tuple[int, ...]]:
        """Return a step as a request, and the descriptor of its tensors; `ref` is what `New` makes.

        The group is frozen: the memory of the last call's arguments is given up here.
        """
        if isinstance(step, New):
            return self._pack(new_request(ref.id if ref else 0, step), step)
        return self._pack(call_request(0, step), step)

    def value_of(self, answer: Answer) -> Value | Raised:
        """Return what an answer is worth; the group is frozen.

        Raises:
            Stopped: a name is missing, or the answer is none.
        """
        try:
            if isinstance(answer, ChannelError):
                raise answer
            return self._read(answer)
        except Raised as raised:
            return raised
        except ChannelError as error:
            message = f"its process answered in a broken form: {error}"
            raise Stopped(Fault(kind=FaultKind.BAD_REPLY, message=message)) from error

    def value_or_fault(self, answer: Answer) -> Raised | Fault:
        """Return what an answer that reports a failure is worth."""
        try:
            value = self.value_of(answer)
        except Stopped as stopped:
            return stopped.fault
        return value if isinstance(value, Raised) else BROKEN

    def refuse_changed(self, step: New | Call) -> None:
        """Raise `Stopped` if the last call changed an input; the group is frozen."""
        self._refuse_changed(step)
