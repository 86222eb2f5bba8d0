"""`tap` passes steps and replies on, replaces them, or leaves steps out."""

from contextlib import suppress

import pytest

from grader.assignment.steps import tap


def numbers(replies):
    try:
        for number in range(4):
            replies.append((yield number))
    finally:
        replies.append("closed")


def play(tapped, *answers):
    """Return the steps that arrive, replying to them in turn."""
    steps = []
    with suppress(StopIteration):
        steps.append(next(tapped))
        for reply in answers:
            steps.append(tapped.send(reply))
    return steps


def test_steps_are_replaced_or_left_out_and_replies_replaced():
    replies: list[object] = []
    tapped = tap(
        numbers(replies),
        lambda step: None if step % 2 else step * 10,
        lambda step, reply: (step, reply),
    )
    assert play(tapped, "a", "b") == [0, 20]
    assert replies == [(0, "a"), None, (20, "b"), None, "closed"]


def test_the_steps_are_closed_with_the_tap():
    replies: list[object] = []
    tapped = tap(numbers(replies), lambda step: step)
    assert play(tapped) == [0]
    tapped.close()
    assert replies == ["closed"]


def test_an_error_of_a_listener_ends_the_case():
    def refuse(step):
        raise KeyError(step)

    replies: list[object] = []
    with pytest.raises(KeyError):
        next(tap(numbers(replies), refuse))
    assert replies == ["closed"]
