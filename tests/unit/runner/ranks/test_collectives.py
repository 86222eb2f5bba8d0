"""Calls, backward passes and gradients are recorded as they happen, up to a limit."""

import concurrent.futures
from typing import Any

import pytest
import torch

from grader.runner.ranks.collectives import MAX_ENTRIES, Recorder


class Work:
    """What a launched collective returns."""

    def __init__(self) -> None:
        self.future: concurrent.futures.Future[None] = concurrent.futures.Future()

    def get_future(self) -> concurrent.futures.Future[None]:
        return self.future


class Message:
    """What a single message returns."""

    def get_future(self) -> Any:
        raise RuntimeError("not supported")


def test_a_call_that_waits_is_complete_when_it_returns():
    recorder = Recorder()
    recorder.record("all_reduce", lambda tensor, op=None: None)(torch.ones(3), op="sum")
    ((name, nbytes, launch, back, end),) = recorder.take()["collectives"]
    assert (name, nbytes) == ("all_reduce", 12)
    assert 0 < launch <= back == end


def test_a_launched_one_is_complete_later():
    recorder, work = Recorder(), Work()
    assert recorder.record("all_reduce", lambda _: work)(torch.ones(3)) is work
    entry = recorder.collectives[0]
    assert entry[4] == -1
    work.future.set_result(None)
    assert entry[4] >= entry[3]


def test_a_message_without_a_future_has_no_end():
    recorder = Recorder()
    recorder.record("isend", lambda tensor, to: Message())(torch.ones(3), 1)
    assert recorder.take()["collectives"][0][4] == -1


def test_the_size_is_that_of_what_is_gathered():
    recorder = Recorder()
    parts = [torch.zeros(2), torch.zeros(2)]
    recorder.record("all_gather", lambda parts, tensor: None)(parts, tensor=torch.zeros(2))
    recorder.record("barrier", lambda: None)()
    assert [entry[1] for entry in recorder.take()["collectives"]] == [16, 0]


def test_a_refused_call_still_raises():
    def refuse(_: torch.Tensor) -> None:
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        Recorder().record("all_reduce", refuse)(torch.ones(1))


def test_gradients_lie_inside_their_pass():
    recorder = Recorder()
    first, second = (torch.ones(2, requires_grad=True) for _ in range(2))
    backward = recorder.watch_backward(torch.autograd.backward)
    backward((first * second + second).sum())
    records = recorder.take()
    ((begin, end),) = records["backward"]
    assert len(records["gradients"]) == 2
    assert all(begin <= ns <= end for ns in records["gradients"])
    assert second.grad is not None
    assert torch.equal(second.grad, torch.full((2,), 2.0))
    torch.autograd.backward(first.sum())  # hooks of a pass end with it
    assert recorder.take()["gradients"] == []


def test_what_finds_no_room_is_counted():
    recorder = Recorder()
    call = recorder.record("barrier", lambda: None)
    for _ in range(MAX_ENTRIES + 3):
        call()
    records = recorder.take()
    assert (len(records["collectives"]), records["left_out"]) == (MAX_ENTRIES, 3)
    assert recorder.take()["left_out"] == 0
