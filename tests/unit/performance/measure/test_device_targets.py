"""Timed targets on a fake device of memory files, from sandbox to verdict."""

import contextlib

import pytest
import torch

from grader.assignment.steps import Call, Expect, Work
from grader.assignment.target import Clock, Quantity
from grader.evidence.device import Ceilings, MatmulRate, MemoryRate, Setting, ThrottleReasons
from grader.evidence.measurement import Measurement
from grader.evidence.samples import TargetMeasurement
from grader.judge.judge import judge
from grader.judge.judgement import Cause, Status, Verdict
from grader.performance.decide.metrics import RULES, decide
from grader.performance.decide.plausibility import broken_bounds
from grader.performance.decide.sequential_test import Outcome
from grader.performance.decide.totals import throttled, throttling
from grader.performance.measure.interleaved import TURNS
from grader.performance.measure.overhead import TRANSFER_CALLS
from grader.record.grade_record import from_json, to_json
from tests.unit.performance.measure.device_target import open_fake
from tests.unit.performance.synthetic import planned
from tests.unit.worker.cuda.thread_sandbox import SEEN, pretend

TEXT = """
def work(x):
    return x + 1
"""
COUNT = 3000
CALLS = 3


def ceilings(device_class, bytes_per_s):
    return Ceilings(
        setting=Setting(
            device_class=device_class, hardware="h", driver="d", torch="t", triton="", method="1"
        ),
        measured="2026-11-21T00:00:00+00:00",
        memory=(MemoryRate(way="copy", bytes_per_s=bytes_per_s, size_bytes=1 << 20),),
        matmul=(MatmulRate(dtype="float32", flops_per_s=1e15, size=512),),
    )


def steps(draw, size):
    for _ in range(CALLS):
        x = torch.full((size,), float(draw.integer(0, 1_000_000)))
        got = yield Call("work", x)
        yield Expect(got, x + 1, label="one more")
        yield Work(bytes_moved=2 * x.nbytes)


TARGET = planned(Quantity.TIME, clock=Clock.WALL, sizes=(COUNT,))


@pytest.fixture
def open_device(tmp_path, monkeypatch):
    pretend(monkeypatch)
    with contextlib.ExitStack() as stack:

        def start(bytes_per_s=1e15):
            given = (ceilings("cuda:*", bytes_per_s),)
            fake = open_fake(tmp_path, TARGET, steps, reference=TEXT, ceilings=given)
            return stack.enter_context(fake)

        yield start


def test_a_run_claims_a_time_for_each_call_and_says_how_the_device_ran(open_device):
    measured, _ = open_device().grade(TEXT)
    assert (measured.faults, measured.reference_faults) == ((), ())
    runs = [p.submission for fork in measured.forks for p in fork.pairs]
    assert len(runs) == len(measured.forks) * TURNS[Quantity.TIME]
    for run in runs:
        assert (len(run.claims), run.calls) == (CALLS, CALLS)
        assert sum(claim.wall_ns for claim in run.claims) == run.wall_ns
        assert [state.reasons for state in run.states] == [ThrottleReasons(0)] * 2


def test_null_calls_have_arguments_as_large_as_the_measured_ones(open_device):
    device = open_device()
    measured, _ = device.grade(TEXT)
    (transfers,) = measured.transfers
    sizes_bytes = {
        c.transfer_bytes for f in measured.forks for p in f.pairs for c in p.submission.claims
    }
    assert sizes_bytes == {transfers.transfer_bytes} == {device.driver.facts.round_up(4 * COUNT)}
    assert (len(transfers.wall_ns), measured.empty.transfer_bytes) == (TRANSFER_CALLS, 0)


def test_every_size_runs_once_before_the_clock_counts(open_device):
    """A submission that compiles at its first call does not pay for it; all inputs are new."""
    telling = (
        "from tests.unit.worker.cuda.thread_sandbox import SEEN\n\n"
        "def work(x):\n    SEEN.append(float(x[0]))\n    return x + 1\n"
    )
    measured, _ = open_device().grade(telling)
    timed = len(measured.forks) * TURNS[Quantity.TIME] * CALLS
    assert len(SEEN) == timed + len(measured.forks) * CALLS
    assert len(set(SEEN)) > 0.99 * len(SEEN)
    assert sum(p.submission.calls for fork in measured.forks for p in fork.pairs) == timed


def test_a_wrong_value_before_the_clock_counts_is_wrong(open_device):
    first = "SEEN = []\n\ndef work(x):\n    SEEN.append(1)\n    return x + (len(SEEN) > 1)\n"
    _, judged = open_device().grade(first)
    assert (judged.verdict, judged.cause) == (Verdict.FAIL, Cause.WRONG_VALUE)


def test_a_time_below_the_devices_floor_needs_review(open_device):
    _, judged = open_device(bytes_per_s=1.0).grade(TEXT)  # a floor of a day
    assert (judged.verdict, judged.cause, judged.points) == (Verdict.NEEDS_REVIEW, Cause.NONE, 0.0)
    assert any("below the roofline floor" in one for one in judged.finding[0].broken)
    assert judged.finding[0].roofline[0].floor_ns == pytest.approx(CALLS * 8 * COUNT * 1e9)


def test_a_time_above_the_floor_breaks_no_floor(open_device):
    measured, judged = open_device().grade(TEXT)
    assert not any("roofline" in one for one in broken_bounds(measured))
    assert 0 < judged.finding[0].roofline[0].submission < 1


def test_a_device_that_throttles_throughout_leaves_the_target_open(open_device):
    device = open_device()
    device.driver.reasons = ThrottleReasons.HW_THERMAL_SLOWDOWN
    measured, judged = device.grade(TEXT)
    assert throttled(measured.forks) == tuple(range(RULES[Quantity.TIME].stages[1]))
    assert "hw thermal slowdown in 8 of 8 forks" in throttling(measured.forks)
    decision = decide(TARGET, TARGET.tiers[0], measured)
    assert decision.outcome is Outcome.TOO_NOISY
    assert judged.verdict in (
        Verdict.UNGRADED,
        Verdict.NEEDS_REVIEW,
    )  # a busy machine may break a claim
    assert judged.points == 0.0


@pytest.mark.parametrize("call", ["copy", "state", "allocate", "fill"])
def test_a_device_that_vanishes_leaves_the_target_open(open_device, monkeypatch, call):
    device = open_device()
    opened = device.sandboxes._sandboxes[0].child
    count = iter(range(100))

    def child(fd, denial):
        if next(count) == 2:
            device.driver.failing[call] = 999
        return opened(fd, denial)

    monkeypatch.setattr(device.sandboxes._sandboxes[0], "child", child)
    _, judged = device.grade(TEXT)
    assert (judged.verdict, judged.cause) == (Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    assert "999" in judged.summary


def test_what_was_measured_on_a_device_survives_its_record(open_device):
    device = open_device()
    device.driver.reasons = ThrottleReasons(0x8041)  # a bit that has no name is kept
    measured, _ = device.grade(TEXT)
    assert from_json(TargetMeasurement, to_json(measured)) == measured
    state = measured.forks[0].pairs[0].reference.states[0]
    assert int(state.reasons) == 0x8041


def test_what_the_device_cost_a_submission_is_an_open_grade_and_no_zero(open_device):
    """An open grade is graded again by the same command; points that are open are not lost."""
    device = open_device()
    device.driver.failing["copy"] = 999
    measured, _ = device.grade(TEXT)
    whole = Measurement(
        sandbox="none", isolation="warm", layers=(), problems=(), wall_ns=0, targets=(measured,)
    )
    judgement = judge(device.loaded(TEXT).plan, whole)
    assert (judgement.status, judgement.score) == (Status.UNGRADED, 0.0)
    assert (judgement.ungraded_points, judgement.max_score) == (10.0, 10.0)
