"""One rank of a group: as `measure.session`, but asked together with the others.

Takes: a rank's process. Gives: `RankSession`: its requests, and what its answers are worth. Does
not cover: sending and waiting (see `measure.ranks`).
"""

from grader.author.steps import Call, New, Ref, Value
from grader.errors import ChannelError
from grader.measure.box import Raised, Stopped
from grader.measure.channel import Channel
from grader.measure.gather import Answer, Json
from grader.measure.measurement import Fault, FaultKind
from grader.measure.requests import call_request, new_request
from grader.measure.session import Session
from grader.sandbox.child_process import ChildProcess

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
