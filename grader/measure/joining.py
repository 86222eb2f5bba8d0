"""How ranks become a process group: one listens, all join.

Takes: the ranks' sessions, a way to ask them. Gives: `join_group`. Does not cover: starting them
(see `measure.ranks`), nor what they do (see `runner.rank`).
"""

from collections.abc import Callable, Mapping, Sequence

from grader.errors import SandboxError
from grader.measure.gather import Answer, Request
from grader.measure.rank_session import RankSession

JOIN_SECONDS = 30.0
COLLECTIVE_SLACK = 10.0
"""How many seconds longer than a step a collective may wait: the judge ends a hang, not gloo."""

Exchange = Callable[[Mapping[int, Request], float], dict[int, Answer]]


def join_group(
    ranks: Sequence[RankSession],
    exchange: Exchange,
    *,
    call_wall_s: float,
    record: bool,
    said: Callable[[], str],
) -> None:
    """Let the ranks find each other, by our code, before anything of the submission is there.

    Args:
        ranks: in order.
        exchange: asks some ranks, for so many seconds, and returns their answers.
        call_wall_s: seconds that a step may take.
        record: whether the ranks note what they do when.
        said: returns what they printed, for the error.

    Raises:
        SandboxError: if they do not.
    """
    answers = exchange({0: ({"op": "listen"}, ())}, JOIN_SECONDS)
    port = ranks[0].value_of(answers[0])
    if type(port) is not int:
        raise SandboxError(f"rank 0 could not listen: {port}", hint=said()[-800:])
    silence_s = max(call_wall_s + COLLECTIVE_SLACK, JOIN_SECONDS)
    join = {"op": "join", "port": port, "seconds": silence_s, "record": record}
    answers = exchange({rank: (join, ()) for rank in range(len(ranks))}, JOIN_SECONDS)
    for rank, session in enumerate(ranks):
        value = session.value_of(answers[rank])
        if value is not None:
            raise SandboxError(f"rank {rank} could not join its group: {value}")
