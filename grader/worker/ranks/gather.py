"""Asks several children, and waits for all their replies at once, on one clock.

Takes: channels and requests. Gives: what came of each, in the order in which it came. Does not
cover: whose fault a silence is (see `worker.ranks.faults`).

Ranks wait for each other inside collectives: when one has raised or ended, the others may never
return. They get `GRACE_SECONDS` more, not the whole limit.
"""

import selectors
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from grader.errors import CallTimeout, ChannelError
from grader.worker.channel import Channel, Composed

GRACE_SECONDS = 1.0
FAILURES = frozenset({"raised", "missing", "bad_reply"})
"""Keys of a reply that says that a rank did not do what it was asked."""

Json = Any  # a message's fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One rank that has a request."""

    channel: Channel
    composed: Composed


Answer = dict[str, Json] | ChannelError
Request = tuple[dict[str, Json], tuple[int, ...]]
"""What is asked, and the descriptors that go with it."""


def post(
    channels: Mapping[int, Channel],
    requests: Mapping[int, Request],
    *,
    limit_s: float,
    thaw: Callable[[], None],
) -> tuple[dict[int, Asked], dict[int, Answer]]:
    """Put a request into each rank's socket; return who has one, and what is wrong with the others.

    Args:
        channels: by rank.
        requests: by rank.
        limit_s: seconds that a rank may take to make room.
        thaw: lets the ranks run, which a request that is too large for a frozen one needs.
    """
    asked: dict[int, Asked] = {}
    broken: dict[int, Answer] = {}
    for rank, (request, _) in requests.items():
        try:
            asked[rank] = Asked(channel=channels[rank], composed=channels[rank].compose(request))
        except ChannelError as error:
            broken[rank] = error
    if any(one.composed.large for one in asked.values()):
        thaw()
    for rank, one in list(asked.items()):
        try:
            one.channel.post(one.composed, fds=requests[rank][1], limit_s=limit_s)
        except ChannelError as error:
            broken[rank] = error
            del asked[rank]
    return asked, broken


def gather(
    asked: Mapping[int, Asked], *, begin_s: float, limit_s: float
) -> tuple[dict[int, Answer], float]:
    """Return the answer of every rank, who came first first, and when the last one came.

    Args:
        asked: by rank.
        begin_s: when the clock began, of `time.perf_counter`.
        limit_s: seconds for all of them; a rank that stays silent has a `CallTimeout`.
    """
    answers: dict[int, Answer] = {}
    deadline_s = begin_s + limit_s
    last_s = time.perf_counter()
    with selectors.DefaultSelector() as selector:
        for rank, one in asked.items():
            selector.register(one.channel.fileno(), selectors.EVENT_READ, rank)
        ready = list(asked)  # a reply may lie in a buffer already
        while True:
            for rank in ready:
                answer = _poll(asked[rank])
                if answer is None:
                    continue
                answers[rank] = answer
                last_s = time.perf_counter()
                selector.unregister(asked[rank].channel.fileno())
                if isinstance(answer, ChannelError) or FAILURES & answer.keys():
                    deadline_s = min(deadline_s, last_s + GRACE_SECONDS)
            left_s = deadline_s - time.perf_counter()
            if len(answers) == len(asked) or left_s <= 0:
                break
            ready = [key.data for key, _ in selector.select(left_s)]
    for rank in sorted(asked.keys() - answers.keys()):
        answers[rank] = CallTimeout("no reply within the limit")
        last_s = time.perf_counter()
    return answers, last_s


def _poll(one: Asked) -> Answer | None:
    try:
        message = one.channel.poll()
        return None if message is None else one.channel.check(one.composed, message)
    except ChannelError as error:
        return error
