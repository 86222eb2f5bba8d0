"""A rank that dies, hangs or calls another collective: cause and locations, and nothing is left."""

import os
from pathlib import Path

import pytest

from grader.evidence.faults import Fault, FaultKind
from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack, Result
from tests.hostile.rank_honest import RANK_HONEST

BODY = """
import os, time
honest = average
def average(x):
    rank, world = dist.get_rank(), dist.get_world_size()
    if world > 1:
        {attack}
    return honest(x)
"""


def attacked(attack: str) -> str:
    return RANK_HONEST + BODY.format(attack=attack)


def first_fault(result: Result) -> Fault:
    faults = [f for p in result.measurement.problems for c in p.cases for f in c.faults]
    return faults[0]


def descendants() -> set[int]:
    """Processes below this one, bubblewrap's and their children included."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text()
        except OSError:
            continue
        parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while True:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        if not more:
            return found
        found |= more


def test_a_hanging_rank_is_reported_with_every_stack(attack_ranks: Attack) -> None:
    attack_ranks(RANK_HONEST)  # now the sandboxes are running
    before = descendants()
    result = attack_ranks(attacked("while rank == 1: time.sleep(0.1)"))
    assert result.cause("average") is Cause.TIMEOUT
    fault = first_fault(result)
    assert "did not" in fault.message or "no rank returned" in fault.message
    assert [stack.rank for stack in fault.stacks] == list(range(len(fault.stacks)))
    assert len(fault.stacks) >= 2
    assert all(stack.where.startswith("submission.py, line") for stack in fault.stacks)
    assert "in all_reduce" in fault.stacks[0].text
    (problem,) = [p for p in result.measurement.problems if p.problem == "average"]
    hung = [f.message for c in problem.cases if c.check == "values" for f in c.faults]
    assert len(hung) > 1
    assert {message.startswith("not run") for message in hung[1:]} == {True}  # one limit, not all
    assert 'File "submission.py"' in fault.stacks[1].text
    assert "in average" in fault.stacks[1].text
    assert "/runner/" not in fault.stacks[0].text
    assert descendants() <= before
    assert "rank 1 had not returned (submission.py, line" in result.finding("average")


@pytest.mark.parametrize(
    ("attack", "cause", "message"),
    [
        ("rank == 1 and os._exit(0)", Cause.CRASH, "rank 1 of"),
        ("rank == 1 and os.abort()", Cause.CRASH, "rank 1 of"),
        ("rank == 0 or dist.barrier()", Cause.TIMEOUT, "hang at different lines"),
        (
            "dist.init_process_group('gloo')",
            Cause.CRASH,
            "the ranks have joined the default process group already",
        ),
        ("dist.destroy_process_group()", Cause.CRASH, "the process group is gone"),
        ("if rank == 1: raise KeyError(1)", Cause.CRASH, "rank 1: KeyError was raised"),
    ],
    ids=["exit", "abort", "mismatch", "second init", "destroyed", "exception"],
)
def test_the_first_cause_is_named(
    attack_ranks: Attack, attack: str, cause: Cause, message: str
) -> None:
    result = attack_ranks(attacked(attack))
    assert result.cause("average") is cause
    assert message in result.finding("average")
    assert result.cause("Shard") is Cause.NONE


def test_a_load_that_fails_on_ranks_costs_only_what_needs_it(attack_ranks: Attack) -> None:
    broken = "table = 1 / 0\ndef average(x):\n    return table\nimport os\nos._exit(3)\n"
    result = attack_ranks(RANK_HONEST + broken)
    assert result.cause("average") is Cause.CRASH
    said = "loading the file: ZeroDivisionError: division by zero; so table is not defined"
    assert said in result.finding("average")
    assert result.cause("Shard") is Cause.NONE
    assert result.measurement.sliced


def test_who_waits_for_a_rank_that_raised_does_not_wait_long(attack_ranks: Attack) -> None:
    result = attack_ranks(attacked("if rank == 1: raise KeyError(1)"))
    fault = first_fault(result)
    assert fault.kind is FaultKind.EXCEPTION
    assert "rank 0 waited for it" in fault.message or "ranks 0, 2 waited for it" in fault.message
    waits = [c.wall_ns / 1e9 for p in result.measurement.problems for c in p.cases if c.faults]
    assert max(waits) < 3.0  # of a limit of 4 seconds


def test_a_daemon_of_a_rank_is_gone_with_its_world(attack_ranks: Attack) -> None:
    attack_ranks(RANK_HONEST)
    before = descendants()
    daemon = "os.fork() or time.sleep(1000)"
    attack_ranks(attacked(daemon))
    assert descendants() <= before
