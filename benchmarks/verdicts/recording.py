"""Records raw pairs of submissions of known slowness, measured as in grading.

Cells are measured in rounds, a few forks at a time, in a new random order in each round. So a
machine that drifts over minutes affects all cells alike. Verdicts on the recorded pairs:
`benchmarks.verdicts.replay`.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass, replace

from benchmarks.verdicts.cells import FAR, Cell, Scale, cells_of
from benchmarks.verdicts.known_work import problem_of, target_of
from benchmarks.verdicts.live import LiveVerdict, confirm
from benchmarks.verdicts.machine import Machine, describe_machine
from benchmarks.verdicts.neighbour import Neighbour, neighbour
from benchmarks.verdicts.patterns import submission_of
from grader.assignment.loaded import LoadedAssignment
from grader.errors import SandboxError
from grader.evidence.samples import TargetMeasurement
from grader.performance.measure.interleaved import TargetMeasurer
from grader.sandbox.pool import SandboxPool
from grader.worker.machine import TimedMachine

CHUNK_FORKS = 4
"""Forks measured one after the other."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Chunk:
    """Forks of a cell that were measured one after the other."""

    cell: Cell
    measured: TargetMeasurement


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """All measurements.

    Attributes:
        machine: where and when.
        sandbox: name of the backend.
        chunks: in the order in which they were measured.
        live: verdicts of whole gradings.
    """

    machine: Machine
    sandbox: str
    chunks: tuple[Chunk, ...]
    live: tuple[LiveVerdict, ...]

    def pools(self) -> dict[Cell, tuple[TargetMeasurement, ...]]:
        """Return the chunks of each cell, in order."""
        found: dict[Cell, list[TargetMeasurement]] = {}
        for chunk in self.chunks:
            found.setdefault(chunk.cell, []).append(chunk.measured)
        return {cell: tuple(chunks) for cell, chunks in found.items()}


def record(
    sandboxes: SandboxPool, loaded: LoadedAssignment, scale: Scale, *, on_step: Callable[[], None]
) -> Recording:
    """Measure every cell, then grade submissions from beginning to end.

    Raises:
        SandboxError: if a sandbox fails, or a run in it.
    """
    machine = describe_machine()
    order = random.Random()
    cells = list(cells_of(scale))
    chunks: list[Chunk] = []
    for _ in range(scale.rounds):
        order.shuffle(cells)
        for kind in Neighbour:
            with neighbour(kind):
                for cell in (cell for cell in cells if cell.neighbour is kind):
                    chunks.append(Chunk(cell=cell, measured=_measure(sandboxes, loaded, cell)))
                    on_step()
    live = confirm(sandboxes, loaded, scale, on_step=on_step)
    return Recording(machine=machine, sandbox=sandboxes.sandbox, chunks=tuple(chunks), live=live)


def steps_of(scale: Scale) -> int:
    """Return how often `on_step` is called."""
    live = scale.live * len(FAR) * len(scale.patterns) * len(Neighbour)
    return len(cells_of(scale)) * scale.rounds + live


def _measure(sandboxes: SandboxPool, loaded: LoadedAssignment, cell: Cell) -> TargetMeasurement:
    """Measure a chunk of forks with a new measurer, as for every submission."""
    with sandboxes.borrow_pair() as pair:
        measurer = TargetMeasurer(pair, submission_of(cell.slowness), loaded, TimedMachine())
        measured = measurer.target(
            problem_of(loaded), target_of(loaded), stages=(CHUNK_FORKS,), enough=lambda _: True
        )
    for fault in (*measured.faults, *measured.reference_faults):
        raise SandboxError(f"a run of known work failed: {fault.message} {fault.detail}".strip())
    return replace(measured, observations=())
