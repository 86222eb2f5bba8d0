"""What a call costs that does nothing, so that it can be taken off every measured time.

Takes: a wall with nothing in it. Gives: `EmptyCalls`. Does not cover: the clock itself (see
`measure.channel`).
"""

from grader.author.steps import Call
from grader.intake.submission import Origin, SourceFile, Submission
from grader.measure.machine import TimedMachine
from grader.measure.samples import EmptyCalls
from grader.plan.assignment import Limits
from grader.sandbox.wall import Wall

BLOCKS = 12
BLOCK_CALLS = 20

_NOTHING = '''"""A submission of the judge's own."""


def nothing() -> None:
    """Return at once."""
'''


def measure_empty_calls(wall: Wall, limits: Limits, machine: TimedMachine) -> EmptyCalls:
    """Call a function of the judge's own that does nothing; the first block is not counted.

    Raises:
        SandboxError: if the box fails.
    """
    probe = Submission(
        name="empty",
        sha256="",
        origin=Origin.MODULE,
        entry="empty",
        files=(SourceFile(name="empty.py", text=_NOTHING),),
    )
    wall_ns: list[int] = []
    cpu_ns: list[int] = []
    with machine.open_box(wall, probe, limits=limits) as session:
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
