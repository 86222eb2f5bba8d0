"""A memory target on a fake device of memory files, from sandbox to verdict."""

from dataclasses import replace

import pytest
import torch

from grader.assignment.steps import Call, Expect, PhaseEnd
from grader.assignment.target import Quantity, Tier
from grader.judge.judgement import Cause, Verdict
from tests.unit.performance.measure.device_target import open_fake
from tests.unit.performance.synthetic import planned
from tests.unit.worker.cuda.fake_driver import GRANULE_BYTES
from tests.unit.worker.cuda.thread_sandbox import pretend

OWN = 100 * GRANULE_BYTES
TEXT = """
from tests.unit.worker.cuda.thread_sandbox import take

def work(x):
    take({need})
    take(-{need})
    return {value}

def read(x):
    take({later})
    return x + 0
"""
REFERENCE = TEXT.format(need=OWN, value="x + 1", later=0).replace(f"take(-{OWN})", "pass")
TIER = Tier(pass_at=2.0, full_at=1.2)


def steps(draw, size):
    x = torch.full((size,), float(draw.integer(0, 1000)))
    got = yield Call("work", x)
    yield Expect(got, x + 1, label="one more")
    yield PhaseEnd()
    got = yield Call("read", x)
    yield Expect(got, x, label="the same")


def text(need, value="x + 1", later=0, before=""):
    return before + TEXT.format(need=int(need * OWN), value=value, later=later)


@pytest.fixture
def device(tmp_path, monkeypatch):
    pretend(monkeypatch)
    target = planned(Quantity.MEMORY, tier=TIER, sizes=(1000,))
    with open_fake(tmp_path, target, steps, reference=REFERENCE) as made:
        yield made


@pytest.mark.parametrize(
    ("need", "forks", "earned"), [(0.5, 2, 10.0), (1.1, 2, 10.0), (1.5, 6, 7.8), (1.95, 6, 5.0)]
)
def test_what_fits_under_a_tiers_memory_cap_earns_it(device, need, forks, earned):
    measured, judged = device.grade(text(need))
    assert (judged.verdict, len(measured.forks)) == (Verdict.PASS, forks), judged.summary
    assert judged.points == pytest.approx(earned, abs=0.6)


def test_what_does_not_fit_into_a_pass_is_too_much_memory(device):
    measured, judged = device.grade(text(2.2))
    assert (judged.verdict, judged.cause) == (Verdict.FAIL, Cause.TOO_MUCH_MEMORY)
    assert (judged.points, len(measured.forks)) == (0.0, 3)
    assert "Memory of the device" in judged.summary


def test_memory_given_back_within_the_call_is_seen_all_the_same(device):
    measured, judged = device.grade(text(3.0))
    assert measured.forks[0].pairs[0].submission.peak_bytes < OWN // 10  # as it looks from outside
    assert judged.cause is Cause.TOO_MUCH_MEMORY


def test_memory_that_is_taken_at_the_import_counts(device):
    """What needs nothing of an import that fails for want of memory does fit, and passes."""
    greedy = f"import tests.unit.worker.cuda.thread_sandbox as w\nKEPT = w.take({3 * OWN})\n"
    _, judged = device.grade(text(0.1, value="(KEPT, x + 1)[1]", before=greedy))
    assert judged.cause is Cause.TOO_MUCH_MEMORY


def test_after_the_phase_all_of_the_device_may_be_used(device):
    _, judged = device.grade(text(1.0, later=5 * OWN))
    assert judged.verdict is Verdict.PASS, judged.summary


def test_any_failure_under_a_cap_means_the_cap_was_too_small(device):
    dying = text(1.5).replace(f"take({int(1.5 * OWN)})", "allocate()", 1) + (
        "\ndef allocate():\n    try:\n"
        f"        take({int(1.5 * OWN)})\n"
        "    except MemoryError:\n        raise\n"
        "    except RuntimeError:\n        raise KeyError('CUBLAS_STATUS_ALLOC_FAILED')\n"
    )
    _, judged = device.grade(dying)
    assert judged.verdict is Verdict.PASS
    assert judged.points == pytest.approx(7.8, abs=0.6)


def test_a_failure_without_a_cap_is_the_submissions_own(device):
    measured, judged = device.grade(text(0.1, value="1 / 0"))
    assert (judged.verdict, judged.cause) == (Verdict.FAIL, Cause.CRASH)
    assert measured.forks == ()


def test_a_wrong_value_under_a_cap_is_a_wrong_value(device):
    _, judged = device.grade(text(0.1, value="x + 2"))
    assert (judged.verdict, judged.cause) == (Verdict.FAIL, Cause.WRONG_VALUE)


def test_a_reference_that_fails_is_the_authors(device):
    measured, judged = device.grade(text(1.0), reference=text(1.0, value="1 / 0"))
    assert (judged.verdict, judged.cause) == (Verdict.UNGRADED, Cause.AUTHOR)
    assert measured.faults == ()


@pytest.mark.parametrize("call", ["copy", "state", "allocate", "free_bytes"])
def test_a_device_that_vanishes_leaves_the_target_open(device, monkeypatch, call):
    """From the third fork on the driver answers nothing any more."""
    opened = device.sandboxes._sandboxes[0].child
    count = iter(range(100))

    def child(fd, denial):
        if next(count) == 2:
            device.driver.failing[call] = 999
        return opened(fd, denial)

    monkeypatch.setattr(device.sandboxes._sandboxes[0], "child", child)
    _, judged = device.grade(text(1.5))
    assert (judged.verdict, judged.cause) == (Verdict.UNGRADED, Cause.INFRASTRUCTURE)
    assert "999" in judged.summary


def test_samples_say_what_was_left(device):
    measured, _ = device.grade(text(2.5))
    caps = [fork.pairs[0].submission.caps[0] for fork in measured.forks]
    assert [cap.sufficed for cap in caps] == [True, False, False]
    assert [cap.ratio for cap in caps[1:]] == [1.2, 2.0]
    own = [fork.pairs[0].reference for fork in measured.forks]
    assert all(OWN <= run.peak_bytes <= OWN + 4 * GRANULE_BYTES for run in own)
    assert caps[1].limit_bytes == pytest.approx(1.2 * own[1].peak_bytes, abs=GRANULE_BYTES)
    assert replace(own[0], caps=()) == own[0]
