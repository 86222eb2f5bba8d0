"""Workloads are published by asking their generators alone: nothing runs."""

import json

import pytest

from grader.release.record_performance import record_performance
from grader.student.workloads import PERFORMANCE_FILE, load_targets, recorded_steps

TARGET = """
[[problem.target]]
name = "{name}"
title = "Fast"
points = 5
quantity = "{quantity}"
[problem.target.tiers."{device}"]
pass_at = 2.0
full_at = 1.5
{more}
"""

CASES = '''
"""Workloads under test."""
import torch
from grader.author import Call, Draw, Each, Expect, New, PhaseEnd, Work, World, workload

@workload("log_sum_exp", "{name}", sizes={sizes})
def work(draw, size):
    """What it
    does: n bytes."""
    {body}
'''


@pytest.fixture
def record(assignment, tmp_path):
    """Publish one target of the small assignment; return what students read of it."""

    def run(body, *, quantity="memory", device="cpu", sizes=(4,), more=""):
        mine, reference = tmp_path / assignment.name, tmp_path / "reference"
        (mine / "public").mkdir(parents=True, exist_ok=True)
        reference.mkdir(exist_ok=True)
        text = (assignment / "assignment.toml").read_text()
        first, second, rest = text.partition('[[problem]]\nname = "RunningLogSumExp"')
        target = TARGET.format(name="work", quantity=quantity, device=device, more=more)
        (mine / "assignment.toml").write_text(first + target + second + rest)
        cases = CASES.format(name="work", sizes=sizes, body=body)
        (reference / "cases.py").write_text(cases)
        files = record_performance(mine, reference)
        for name, made in files.items():
            (mine / "public" / name).write_text(made)
        return load_targets(mine)

    return run


def test_each_size_is_published_with_its_work(record):
    body = """thing = yield New("RunningLogSumExp", size)
    for number in range(size):
        yield Call(thing, "update", torch.randn(3, 5) * number)
        yield Work(bytes_moved=60)
    got = yield Call(thing, "result")
    yield Expect(got, lambda: 1 / 0, label="never computed")"""
    more = "ratio_at_most = 5"
    (target,) = record(body, quantity="growth", sizes=(4, 9), more=more)
    assert (target.problem, target.target, target.ranks) == ("log_sum_exp", "work", 0)
    assert target.description == "What it does: n bytes."
    assert [(run.size, run.bytes_moved) for run in target.runs] == [(4, 240), (9, 540)]
    (small, large) = (list(recorded_steps(run)) for run in target.runs)
    assert (len(small), len(large)) == (6, 11)
    assert large[0].args == (9,)  # type: ignore[union-attr]
    assert len(target.runs[1].steps) < 6  # equal calls stand once


def test_a_run_ends_with_its_phase(record):
    body = """yield Call("log_sum_exp", torch.zeros(size))
    yield PhaseEnd()
    raise RuntimeError("the oracle's work")"""
    (target,) = record(body)
    assert len(list(recorded_steps(target.runs[0]))) == 2


def test_objects_and_replies_stay_arguments(record):
    body = """first = yield New("RunningLogSumExp", 1)
    second = yield New("RunningLogSumExp", 2)
    got = yield Call("log_sum_exp", first, second)
    yield Call(second, "update", got)"""
    (target,) = record(body)
    steps = recorded_steps(target.runs[0])
    steps.send(None)
    steps.send("first")
    made = steps.send("second")
    assert [arg.id for arg in made.args] == [0, 1]  # type: ignore[union-attr]
    last = steps.send("reply")
    assert (last.target.id, last.args) == (1, ("reply",))  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("body", "device"),
    [
        ('got = yield Call("log_sum_exp", 1)\n    yield Call("log_sum_exp", got + 1)', "cpu"),
        ('yield Call("log_sum_exp", torch.ones(1))', "cuda:*"),
    ],
)
def test_what_computes_with_replies_or_needs_a_gpu_is_left_out(record, body, device):
    assert record(body, device=device) == ()


def test_an_assignment_without_targets_publishes_nothing(assignment, reference):
    assert record_performance(assignment, reference) == {}


def test_values_are_not_published(record, tmp_path):
    record('yield Call("log_sum_exp", torch.full((4, 4), 0.123456))')
    (path,) = tmp_path.rglob(PERFORMANCE_FILE)
    assert "1234" not in path.read_text()
    assert json.loads(path.read_text())[0]["problem"] == "log_sum_exp"
