"""A worker under a limit of device memory: what it may allocate, and what counts as its own."""

import pytest
import torch

from grader.assignment.steps import Call
from grader.evidence.faults import FaultKind, Raised, Stopped
from tests.unit.worker.cuda.device_worker import Events, Worker
from tests.unit.worker.cuda.fake_driver import GRANULE_BYTES
from tests.unit.worker.cuda.thread_sandbox import TAKEN, pretend

MEMORY_CAP = 40 * GRANULE_BYTES


@pytest.fixture
def limited(worker):
    """Return a worker that has been left `MEMORY_CAP`, before its first call."""
    assert worker.session.limit_memory(MEMORY_CAP) == MEMORY_CAP
    yield worker
    worker.driver.hold(-sum(TAKEN))
    TAKEN.clear()


def test_no_more_than_the_limit_can_be_allocated(limited):
    with pytest.raises(Raised) as caught:
        limited.session.call(Call("allocate", MEMORY_CAP + 1))
    assert "MemoryError" in caught.value.names
    limited.session.call(Call("allocate", MEMORY_CAP))
    assert limited.driver.free_bytes() == 0
    assert limited.session.usage().peak_bytes == MEMORY_CAP


def test_the_judges_arguments_cost_the_worker_nothing(limited):
    limited.session.call(Call("allocate", MEMORY_CAP))
    for side in (1, 60, 1, 50):
        assert limited.session.call(Call("double", torch.ones(side, side))).shape == (side, side)
        assert limited.driver.free_bytes() == 0
    assert limited.session.usage().peak_bytes == MEMORY_CAP


def test_arguments_that_the_worker_keeps_are_charged_to_it(limited):
    chunk = torch.zeros(10 * GRANULE_BYTES // 4)

    def keep():
        limited.session.call(Call("keep", chunk))
        limited.driver.hold(chunk.nbytes)  # the fake frees what a real device would not
        TAKEN.append(chunk.nbytes)

    for _ in range(MEMORY_CAP // chunk.nbytes + 1):
        keep()
    with pytest.raises(Stopped) as caught:
        keep()
    assert caught.value.fault.kind is FaultKind.OUT_OF_MEMORY


def test_with_all_of_the_device_the_peak_is_what_was_missing(worker):
    left = worker.session.limit_memory(1 << 62)
    assert left == worker.driver.free_bytes()
    for size in (3, 5, -6):
        worker.session.call(Call("allocate", size * GRANULE_BYTES))
        worker.session.call(Call("double", torch.ones(3000)))
    assert worker.session.usage().peak_bytes == 8 * GRANULE_BYTES
    worker.driver.hold(-sum(TAKEN))
    TAKEN.clear()


def test_after_the_phase_there_is_no_limit_and_nothing_counts(limited):
    limited.session.release()
    limited.session.call(Call("allocate", 3 * MEMORY_CAP))
    assert limited.session.usage().peak_bytes < MEMORY_CAP


def test_closing_frees_the_reserved_memory(tmp_path, monkeypatch):
    pretend(monkeypatch, Events)
    with Worker(tmp_path, "squeezed_and_closed") as made:
        made.session.limit_memory(MEMORY_CAP)
        assert made.driver.free_bytes() == MEMORY_CAP
    assert made.driver.free_bytes() == made.driver.facts.total_bytes
    made.driver.close()
