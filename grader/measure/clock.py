"""What a call costs that does nothing, so that it can be taken off every measured time.

Takes: a wall with nothing in it. Gives: `EmptyCalls`. Does not cover: the clock itself (see
`measure.channel`).

On a device a call also maps the memory that it is lent, on the clock, which costs more than all the
rest for large arguments: so calls that lend as much as the measured ones did are measured too.
"""

from collections.abc import Iterable

import torch

from grader.author.steps import Call
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.machine import TimedMachine
from grader.measure.ranks import open_ranks
from grader.measure.samples import EmptyCalls
from grader.plan.assignment import Limits
from grader.sandbox.wall import Wall

BLOCKS = 12
GROUP_BLOCKS = 4
BLOCK_CALLS = 20
LENDING_CALLS = 24
LENDING_SIZES = 6
"""Sizes of lent memory that are measured at most; the others cost what the next larger one does."""

_NOTHING = '''"""A submission of the judge's own."""


def nothing(*arguments: object) -> None:
    """Return at once."""
'''


def measure_empty_calls(wall: Wall, limits: Limits, machine: TimedMachine) -> EmptyCalls:
    """Call a function of the judge's own that does nothing; the first block is not counted.

    Raises:
        SandboxError: if the box fails.
    """
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    with machine.open_box(wall, _probe(), limits=limits) as session:
        session.load("")
        for block in range(BLOCKS + 1):
            before_cpu_ns = session.usage().cpu_ns
            walls: list[int] = []
            for _ in range(BLOCK_CALLS):
                before_wall_ns = session.wall_ns
                session.call(Call("nothing"))
                walls.append(session.wall_ns - before_wall_ns)
            if block:
                cpu_ns.append(session.usage().cpu_ns - before_cpu_ns)
                wall_ns += walls
    return EmptyCalls(wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns), block=BLOCK_CALLS)


def measure_empty_steps(
    wall: Wall, limits: Limits, machine: TimedMachine, *, ranks: int
) -> EmptyCalls:
    """Ask every rank of a group to do nothing, several times; its wire should be silent.

    Raises:
        SandboxError: if the box fails.
    """
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    with open_ranks(wall, _probe(), limits=limits, most=ranks) as box:
        box.load("")
        box.world(ranks)
        steps = dict.fromkeys(range(ranks), Call("nothing"))
        for block in range(GROUP_BLOCKS + 1):
            before = box.usage()
            if block <= 1:
                first = before
            walls: list[int] = []
            for _ in range(BLOCK_CALLS):
                before_wall_ns = box.wall_ns
                box.ask(steps, None)
                walls.append(box.wall_ns - before_wall_ns)
            if block:
                cpu_ns.append(box.usage().cpu_ns - before.cpu_ns)
                wall_ns += walls
        wire_bytes = box.usage().wire_bytes - first.wire_bytes
    return EmptyCalls(
        wall_ns=tuple(wall_ns), cpu_ns=tuple(cpu_ns), block=BLOCK_CALLS, wire_bytes=wire_bytes
    )


def measure_lending_calls(
    wall: Wall, limits: Limits, machine: TimedMachine, sizes_bytes: Iterable[int]
) -> tuple[EmptyCalls, ...]:
    """Call a function that does nothing with arguments that fill blocks of the given sizes.

    Args:
        wall: with nothing in it.
        limits: of the box.
        machine: with a device.
        sizes_bytes: of blocks, each a multiple of the device's granularity.

    Raises:
        SandboxError: if the box fails.
        DeviceError: if the device refuses.
    """
    found: list[EmptyCalls] = []
    with machine.open_box(wall, _probe(), limits=limits) as session:
        session.load("")
        for size_bytes in _spread(sorted(set(sizes_bytes))):
            filling = torch.zeros(size_bytes, dtype=torch.uint8)
            before_cpu_ns = session.usage().cpu_ns
            walls: list[int] = []
            for _ in range(LENDING_CALLS + 1):
                before_wall_ns = session.wall_ns
                session.call(Call("nothing", filling))
                walls.append(session.wall_ns - before_wall_ns)
            found.append(
                EmptyCalls(
                    wall_ns=tuple(walls[1:]),  # the first one is not counted
                    cpu_ns=(session.usage().cpu_ns - before_cpu_ns,),
                    block=LENDING_CALLS + 1,
                    lent_bytes=size_bytes,
                )
            )
    return tuple(found)


def _spread(sizes: list[int]) -> list[int]:
    """Return at most `LENDING_SIZES` of ascending sizes, evenly, the largest among them."""
    step = max(-(-len(sizes) // LENDING_SIZES), 1)
    return sizes[::-1][::step][::-1]


def _probe() -> Submission:
    return Submission(
        name="empty",
        sha256="",
        origin=Origin.MODULE,
        entry="empty",
        files=(SourceFile(name="empty.py", text=_NOTHING),),
    )
