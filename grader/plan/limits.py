"""What one process of the box, or one rank, may use.

Takes: nothing. Gives: `Limits`. Does not cover: reading them from `assignment.toml` (see
`plan.assignment`), nor holding them (see `sandbox.cgroup`, `runner.jail`).
"""

from dataclasses import dataclass

MOST_RANKS = 8
"""Of one world."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What one child process of the box may use.

    Attributes:
        load_wall_s: importing the submission, seconds on the judge's clock.
        call_wall_s: one request, from sending to reply.
        problem_wall_s: all calls of one problem.
        memory_bytes: memory of the submission's process tree, torch's own footprint excluded; of a
            problem with ranks, that of each rank.
        processes: processes and threads of the tree.
        reply_bytes: tensors of one reply, together.
        output_bytes: captured stdout and stderr of one problem; more is dropped.
        loopback: whether it may open internet sockets, which reach the box's own loopback. Ranks
            of a group may without this. What lies in the buffers is charged apart; see
            `sandbox.cgroup`.
        ranks: most ranks of any problem; at least as many as the problems say.
        preload: modules that the box imports before any submission is there, so that none waits
            for them or is charged their memory.
    """

    load_wall_s: float = 20.0
    call_wall_s: float = 10.0
    problem_wall_s: float = 60.0
    memory_bytes: int = 1 << 30
    processes: int = 64
    reply_bytes: int = 64 << 20
    output_bytes: int = 64 << 10
    loopback: bool = False
    ranks: int = 1
    preload: tuple[str, ...] = ()
