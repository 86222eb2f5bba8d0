"""What a call costs that does nothing, so that it can be taken off every measured time.

Takes: a wall with nothing in it. Gives: `EmptyCalls`. Does not cover: the clock itself (see
`worker.channel`).

On a device a call also maps the memory that it is lent, on the clock, which costs more than all the
rest for large arguments: so calls that lend as much as the measured ones did are measured too.
"""

from collections.abc import Iterable

import torch

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.evidence.samples import EmptyCalls
from grader.intake.submission import Origin, SourceFile, Submission
from grader.sandbox.sandbox import Sandbox
from grader.worker.machine import TimedMachine
from grader.worker.ranks.ranks import open_ranks

BLOCKS = 12
GROUP_BLOCKS = 4
BLOCK_CALLS = 20
TRANSFER_CALLS = 24
TRANSFER_SIZES = 6
"""Sizes of lent memory that are measured at most; the others cost what the next larger one does."""

_NOTHING = '''"""A submission of the judge's own."""


def nothing(*arguments: object) -> None:
    """Return at once."""
'''


def measure_null_calls(sandbox: Sandbox, limits: Limits, machine: TimedMachine) -> EmptyCalls:
    """Call a function of the judge's own that does nothing; the first block is not counted.

    Raises:
        SandboxError: if the box fails.
    """
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    with machine.open_worker(sandbox, _probe(), limits=limits) as session:
        session.load()
        for block in range(BLOCKS + 1):
            before_cpu_ns = session.usage().cpu_ns
            sandboxes: list[int] = []
            for _ in range(BLOCK_CALLS):
                before_wall_ns = session.wall_ns
                session.call(Call("nothing"))
                sandboxes.append(session.wall_ns - before_wall_ns)
            if block:
                cpu_ns.append(session.usage().cpu_ns - before_cpu_ns)
                wall_ns += sandboxes
    return EmptyCalls(wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns), block=BLOCK_CALLS)


def measure_null_steps(
    sandbox: Sandbox, limits: Limits, machine: TimedMachine, *, ranks: int
) -> EmptyCalls:
    """Ask every rank of a group to do nothing, several times; its wire should be silent.

    Raises:
        SandboxError: if the box fails.
    """
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    with open_ranks(sandbox, _probe(), limits=limits, most=ranks) as worker:
        worker.load()
        worker.world(ranks)
        steps = dict.fromkeys(range(ranks), Call("nothing"))
        for block in range(GROUP_BLOCKS + 1):
            before = worker.usage()
            if block <= 1:
                first = before
            sandboxes: list[int] = []
            for _ in range(BLOCK_CALLS):
                before_wall_ns = worker.wall_ns
                worker.ask(steps, None)
                sandboxes.append(worker.wall_ns - before_wall_ns)
            if block:
                cpu_ns.append(worker.usage().cpu_ns - before.cpu_ns)
                wall_ns += sandboxes
        traffic_bytes = worker.usage().traffic_bytes - first.traffic_bytes
    return EmptyCalls(
        wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns), block=BLOCK_CALLS, traffic_bytes=traffic_bytes
    )


def measure_transfer_calls(
    sandbox: Sandbox, limits: Limits, machine: TimedMachine, sizes_bytes: Iterable[int]
) -> tuple[EmptyCalls, ...]:
    """Call a function that does nothing with arguments that fill blocks of the given sizes.

    Args:
        sandbox: with nothing in it.
        limits: of the box.
        machine: with a device.
        sizes_bytes: of blocks, each a multiple of the device's granularity.

    Raises:
        SandboxError: if the box fails.
        DeviceError: if the device refuses.
    """
    found: list[EmptyCalls] = []
    with machine.open_worker(sandbox, _probe(), limits=limits) as session:
        session.load()
        for size_bytes in _spread(sorted(set(sizes_bytes))):
            filling = torch.zeros(size_bytes, dtype=torch.uint8)
            before_cpu_ns = session.usage().cpu_ns
            sandboxes: list[int] = []
            for _ in range(TRANSFER_CALLS + 1):
                before_wall_ns = session.wall_ns
                session.call(Call("nothing", filling))
                sandboxes.append(session.wall_ns - before_wall_ns)
            found.append(
                EmptyCalls(
                    wall_ns=tuple(sandboxes[1:]),  # the first one is not counted
                    cpu_ns=(session.usage().cpu_ns - before_cpu_ns,),
                    block=TRANSFER_CALLS + 1,
                    transfer_bytes=size_bytes,
                )
            )
    return tuple(found)


def _spread(sizes: list[int]) -> list[int]:
    """Return at most `TRANSFER_SIZES` of ascending sizes, evenly, the largest among them."""
    step = max(-(-len(sizes) // TRANSFER_SIZES), 1)
    return sizes[::-1][::step][::-1]


def _probe() -> Submission:
    return Submission(
        name="empty",
        sha256="",
        origin=Origin.MODULE,
        entry="empty",
        files=(SourceFile(name="empty.py", text=_NOTHING),),
    )
