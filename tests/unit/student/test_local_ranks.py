"""Ranks as forks of this process: what a student's own machine does."""

import torch
import torch.distributed as dist

from grader.author import Call, Each, Expect, New, On, Raises, World
from grader.correctness.drive import drive
from grader.evidence.faults import FaultKind
from grader.student.local_ranks import LocalRanks


class Counter:
    def __init__(self, start):
        self.total = start

    def add(self, x):
        self.total += int(x.sum())
        return self.total


def summed(x):
    if x.numel() == 0:
        raise ValueError("nothing to sum")
    total = x.clone()
    dist.all_reduce(total)
    return total


def alone(x):
    if dist.get_rank() == 1:
        raise ValueError("not me")
    return summed(x)


NAMES = {"summed": summed, "Counter": Counter, "alone": alone, "rank": lambda: dist.get_rank()}


def run(steps):
    worker = LocalRanks(NAMES, {}, most=3)
    try:
        return drive(steps, worker, check="c", index=0, public=True)
    finally:
        worker.close()


def test_ranks_meet_in_a_collective_and_keep_their_objects():
    def case():
        yield World(2)
        got = yield Each(Call("summed", torch.ones(3)))
        yield Expect(got, [torch.full((3,), 2.0)] * 2, label="sum")
        counter = yield Each(*(New("Counter", 10 * rank) for rank in range(2)))
        got = yield Each(*(Call(counter, "add", torch.ones(rank + 1)) for rank in range(2)))
        yield Expect(got, [1, 12], label="counters")
        got = yield On(1, Call("rank"))
        yield Expect(got, 1, label="rank")
        yield Raises(Each(Call("summed", torch.ones(0))), "ValueError", label="empty")
        yield World(3)
        got = yield Each(Call("summed", torch.ones(1)))
        yield Expect(got, [torch.full((1,), 3.0)] * 3, label="three")

    seen = run(case())
    assert seen.faults == ()
    assert len(seen.observations) == 10
    assert all(getattr(one, "matches", True) for one in seen.observations)
    errors = [one.comparison.error for one in seen.observations if hasattr(one, "comparison")]
    assert max(errors) == 0


def test_a_rank_that_raises_is_named_while_others_wait():
    def case():
        yield World(2)
        yield Each(Call("alone", torch.ones(1)))

    (fault,) = run(case()).faults
    assert fault.kind is FaultKind.EXCEPTION
    assert fault.message == "rank 1: ValueError was raised; rank 0 waited for it"
    assert [(one.rank, one.state) for one in fault.stacks] == [
        (0, "had not returned"),
        (1, "had raised ValueError"),
    ]


def test_a_world_beyond_the_problems_is_the_authors_fault():
    def case():
        yield World(4)

    (fault,) = run(case()).faults
    assert fault.kind is FaultKind.AUTHOR
    assert "World(4) in a problem whose `ranks` is 3" in fault.message


def test_a_step_must_name_its_ranks():
    def case():
        yield World(2)
        yield Call("rank")

    (fault,) = run(case()).faults
    assert fault.kind is FaultKind.AUTHOR
