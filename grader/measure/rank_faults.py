"""Which rank's fault it is when a group comes to no end, and where the others stood.

Takes: what each rank answered, or that it did not. Gives: one `Fault` that names the rank. Does not
cover: exceptions of ranks that all answered (they are replies).

The first cause is named, not its echo: a rank that ended before those that lost their connection to
it, an exception before those that wait for who raised it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from grader.errors import CallTimeout, ChannelError
from grader.intake.submission import Submission
from grader.measure.box import Raised
from grader.measure.drive import fault_of, public_name
from grader.measure.gather import FAILURES, Answer
from grader.measure.group_misuse import is_peer_failure
from grader.measure.measurement import Fault, FaultKind
from grader.measure.observed import RankStack
from grader.measure.rank_session import RankSession
from grader.measure.stacks import read_stacks
from grader.sandbox.faults import classify
from grader.sandbox.wall import Wall

EXIT_WAIT_SECONDS = 1.0
_FIRST = (
    FaultKind.INFRASTRUCTURE,
    FaultKind.OUT_OF_MEMORY,
    FaultKind.CRASH,
    FaultKind.BAD_REPLY,
)
"""Kinds that explain the silence of others, the strongest first."""


def group_fault(
    wall: Wall,
    submission: Submission,
    ranks: Sequence[RankSession],
    answers: Mapping[int, Answer],
) -> Fault:
    """Return the fault of a group in which at least one rank did not answer; it still runs.

    Args:
        wall: that holds it.
        submission: what the ranks run.
        ranks: all of them.
        answers: by rank, of those that were asked, who came first first.
    """
    silent = {rank: a for rank, a in answers.items() if isinstance(a, ChannelError)}
    waiting = [rank for rank, a in silent.items() if isinstance(a, CallTimeout)]
    raised = {
        rank: ranks[rank].value_or_fault(a)
        for rank, a in answers.items()
        if not isinstance(a, ChannelError) and FAILURES & a.keys()
    }
    states = {rank: _state(rank, answers, raised.get(rank)) for rank in range(len(ranks))}
    stacks = read_stacks(submission, {rank: ranks[rank].child for rank in waiting}, states)
    found: dict[int, Fault] = {}
    for rank, error in silent.items():
        wait_s = 0.0 if rank in waiting else EXIT_WAIT_SECONDS
        kind, message = classify(error, wall.ending(ranks[rank].child, wait_s))
        if len(ranks) > 1 and message.endswith(("SIGSEGV", "SIGABRT")):
            message += ", as where ranks meet in one collective with different sizes"
        found[rank] = Fault(kind=kind, message=f"rank {rank} of {len(ranks)}: {message}")
    for kind in _FIRST:
        for fault in found.values():
            if fault.kind is kind:
                return replace(fault, stacks=stacks)
    if raised:
        return _left_waiting(raised, sorted(waiting), stacks)
    return _nobody(sorted(waiting), len(ranks), stacks)


def _state(rank: int, answers: Mapping[int, Answer], failure: Raised | Fault | None) -> str:
    answer = answers.get(rank)
    if answer is None:
        return "was not asked"
    if isinstance(failure, Raised):
        return f"had raised {public_name(failure.names)}"
    if isinstance(failure, Fault):
        return "had failed"
    if isinstance(answer, CallTimeout):
        return "had not returned"
    return "had ended" if isinstance(answer, ChannelError) else "had returned"


def _left_waiting(
    raised: Mapping[int, Raised | Fault], waiting: Sequence[int], stacks: tuple[RankStack, ...]
) -> Fault:
    """Return the fault of the first rank that failed by itself while others waited for it."""
    rank, failure = min(raised.items(), key=lambda item: _is_echo(item[1]))
    if isinstance(failure, Raised):
        failure.who = f"rank {rank}"
        failure = fault_of(failure)
    others = f"; {_names(waiting)} waited for it"
    return replace(failure, message=failure.message + others, stacks=stacks)


def _is_echo(failure: Raised | Fault) -> bool:
    return isinstance(failure, Raised) and is_peer_failure(failure.names, failure.text)


def _nobody(waiting: Sequence[int], size: int, stacks: tuple[RankStack, ...]) -> Fault:
    """Return the fault of ranks that hang."""
    who = "no rank" if len(waiting) == size else f"{_names(waiting)} of {size}"
    verb = "returned" if len(waiting) == size else "did not return"
    message = f"{who} {verb} within the time limit"
    places = {stack.where for stack in stacks if stack.rank in waiting}
    if len(places) > 1:
        message += ": they hang at different places, as in collectives that do not match"
    elif len(waiting) < size:
        message += ": others had, as when not every rank joins a collective"
    where = next((stack.where for stack in stacks if stack.rank in waiting), "")
    return Fault(kind=FaultKind.TIMEOUT, message=message, where=where, stacks=stacks)


def _names(ranks: Sequence[int]) -> str:
    listed = ", ".join(str(rank) for rank in ranks)
    return f"rank {listed}" if len(ranks) == 1 else f"ranks {listed}"


def cannot_load(raised: Raised) -> Fault:
    """Return the fault of an import; no hidden input has entered this world."""
    fault = fault_of(raised)
    said = fault.detail or fault.message
    return replace(fault, message=f"the submission could not be imported: {said}", detail="")
