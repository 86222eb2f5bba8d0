"""Targets on the device, from the sandboxes to the verdict: submissions of known speed and need."""

import math

import pytest
import torch

from grader.assignment.steps import Call, Expect, New, PhaseEnd, ReclaimArguments, Work
from grader.assignment.target import Clock, Quantity, Tier
from grader.judge.judgement import Cause, Verdict
from grader.performance.decide.event_claims import calibrate
from grader.performance.decide.plausibility import broken_bounds
from grader.performance.decide.totals import net_time
from grader.performance.measure.ceilings import find_setting, measure_ceilings
from tests.gpu.conftest import LIMITS
from tests.unit.performance.measure.device_target import Graded
from tests.unit.performance.synthetic import planned

pytestmark = [pytest.mark.gpu, pytest.mark.timeout(900)]

MIB = 1 << 20
WORK = """
import torch

def work(x):
    for _ in range({times}):
        y = x * 2 + 1
    return y[:1000]
"""
COUNT = 64 * MIB // 4


def race(draw, size):
    """One pass over 64 MiB: what a call moves is known."""
    x = torch.full((size,), float(draw.integer(0, 1000)))
    got = yield Call("work", x)
    yield Expect(got, lambda: (x * 2 + 1)[:1000], label="line", exact=True)
    yield Work(bytes_moved=2 * x.nbytes)


TIME = planned(Quantity.TIME, clock=Clock.WALL, sizes=(COUNT,), tier=Tier(pass_at=3.0, full_at=1.5))


@pytest.fixture(scope="module")
def ceilings():
    return (measure_ceilings(find_setting("cuda")),)


@pytest.fixture
def timed(driver, sandboxes, ceilings):
    return Graded(
        driver,
        sandboxes,
        TIME,
        race,
        reference=WORK.format(times=8),
        ceilings=ceilings,
        limits=LIMITS,
    )


@pytest.mark.parametrize(("times", "verdict"), [(8, Verdict.PASS), (64, Verdict.FAIL)])
def test_known_speeds_get_their_verdicts(timed, times, verdict):
    measured, judged = timed.grade(WORK.format(times=times))
    assert broken_bounds(measured) == ()
    assert judged.verdict is verdict, judged.summary
    (transfers,) = measured.transfers
    gauge = net_time(measured, Clock.WALL)
    for run in (p.submission for fork in measured.forks for p in fork.pairs):
        claimed_ns = sum(claim.events_ns[0] for claim in run.claims)
        most_ns = calibrate(transfers.wall_ns).most_ns(len(run.claims))
        assert abs(gauge.amount(run) - claimed_ns) < most_ns


STORE = """
import torch

class Store:
    def __init__(self, rows):
        self.kept = torch.zeros(rows, {columns}, device="cuda")
        self.end = 0

    def put(self, x):
        {before}
        self.kept[self.end : self.end + len(x), : x.shape[1]] = x
        self.end += len(x)

    def first(self):
        return self.kept[:1, :8].clone()
"""
COLUMNS = 1 << 14
ROWS = 4096
"""256 MiB of float32 in all."""


def fill(draw, size):
    store = yield New("Store", size)
    part = torch.full((size // 8, COLUMNS), float(draw.integer(1, 1000)))
    for _ in range(8):
        yield Call(store, "put", part)
        yield ReclaimArguments()
    yield PhaseEnd()
    got = yield Call(store, "first")
    yield Expect(got, lambda: part[:1, :8], label="first row", exact=True)


def store(factor, before="pass"):
    return STORE.format(columns=int(COLUMNS * factor), before=before)


HIDDEN = (
    "scratch = torch.empty(3 * self.kept.numel(), device='cuda').fill_(1); del scratch; "
    "torch.cuda.empty_cache()"
)


@pytest.fixture
def memory(driver, sandboxes):
    target = planned(Quantity.MEMORY, sizes=(ROWS,), tier=Tier(pass_at=1.8, full_at=1.25))
    return Graded(driver, sandboxes, target, fill, reference=store(1), limits=LIMITS)


@pytest.mark.parametrize(
    ("text", "cause", "between"),
    [
        (store(1), Cause.NONE, (0.0, 1.25)),
        (store(1.5), Cause.NONE, (1.25, 1.8)),
        (store(2.5), Cause.TOO_MUCH_MEMORY, (1.8, math.inf)),
        (store(1, HIDDEN), Cause.TOO_MUCH_MEMORY, (1.8, math.inf)),
    ],
    ids=["as the reference", "half as much again", "too much", "given back within the call"],
)
def test_known_needs_get_their_verdicts(memory, text, cause, between):
    before = memory.driver.free_bytes()
    measured, judged = memory.grade(text)
    verdict = Verdict.PASS if cause is Cause.NONE else Verdict.FAIL
    assert (judged.verdict, judged.cause) == (verdict, cause), judged.summary
    (metric,) = judged.finding[0].metrics
    assert between[0] < math.exp(metric.interval.high) <= between[1] * (1 + 1e-9)
    peaks = [fork.pairs[0].reference.peak_bytes for fork in measured.forks]
    assert min(peaks) >= 256 * MIB
    assert max(peaks) - min(peaks) <= 0.05 * max(peaks)
    assert memory.driver.free_bytes() >= before - 64 * MIB  # the reserved memory was given back
