"""What a case needs of the place where a submission runs, and how a step can end there.

Takes: nothing. Gives: `Worker`, `WorkerGroup`, `Raised`, `Stopped`. Does not cover: carrying a case
through one (see `correctness.drive`).
"""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from grader.assignment.steps import Call, New, Ref, Value
from grader.evidence.faults import Raised


class Worker(Protocol):
    """Where a submission runs.

    Every method raises `Raised` when the submission raised, `Stopped` when the case must end.
    """

    def new(self, ref: Ref, step: New) -> None:
        """Make an object and remember it as `ref`."""

    def call(self, step: Call) -> Value:
        """Call a function or method and return its reply."""

    def drop(self, ref: Ref) -> None:
        """Forget an object."""

    def overwrite_arguments(self) -> None:
        """Overwrite the tensors passed to the last call."""

    def reclaim_arguments(self) -> None:
        """Take the memory of the tensors passed to the last call back."""

    @property
    def wall_ns(self) -> int:
        """Time from request to reply of all calls so far, on the judge's clock."""


@runtime_checkable
class WorkerGroup(Worker, Protocol):
    """Where a submission runs as ranks of a process group."""

    @property
    def size(self) -> int:
        """Ranks of the world that is there; 0 before the first."""

    def world(self, size: int) -> None:
        """End the world that is there and start another."""

    def ask(self, steps: Mapping[int, New | Call], ref: Ref | None) -> dict[int, Value | Raised]:
        """Ask several ranks at once; return what each replied or raised, who came first first.

        Args:
            steps: by rank, all of one kind.
            ref: what `New`s make.

        Raises:
            Stopped: if one ended, hangs or answered nothing of use.
        """
