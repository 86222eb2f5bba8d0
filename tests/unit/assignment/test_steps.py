"""What passes through `tap` arrives unchanged, is replaced or left out, and every reply is seen."""

from contextlib import suppress

import pytest

from grader.assignment.steps import tap


def numbers(heard):
    try:
        for number in range(4):
            heard.append((yield number))
    finally:
        heard.append("closed")


def play(tapped, *replies):
    """Return the steps that arrive, replying to them in turn."""
    steps = []
    with suppress(StopIteration):
        steps.append(next(tapped))
        for reply in replies:
            steps.append(tapped.send(reply))
    return steps


def test_steps_are_replaced_or_left_out_and_replies_seen():
    heard: list[object] = []
    replied: list[object] = []
    tapped = tap(
        numbers(heard),
        lambda step: None if step % 2 else step * 10,
        lambda step, reply: replied.append((step, reply)),
    )
    assert play(tapped, "a", "b") == [0, 20]
    assert replied == [(0, "a"), (20, "b")]
    assert heard == ["a", None, "b", None, "closed"]


def test_the_steps_are_closed_with_the_tap():
    heard: list[object] = []
    tapped = tap(numbers(heard), lambda step: step)
    assert play(tapped) == [0]
    tapped.close()
    assert heard == ["closed"]


def test_an_error_of_a_listener_ends_the_case():
    def refuse(step):
        raise KeyError(step)

    heard: list[object] = []
    with pytest.raises(KeyError):
        next(tap(numbers(heard), refuse))
    assert heard == ["closed"]
