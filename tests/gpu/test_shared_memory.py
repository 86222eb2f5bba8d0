"""Blocks cross processes, a fork that begins CUDA computes in them, the judge's copy counts."""

import pytest
import torch

from grader.worker.cuda.buffers import DeviceArgumentMemory, DeviceReplyMemory
from tests.gpu.device_worker import COUNT
from tests.gpu.run_worker import run_worker, start_worker

pytestmark = pytest.mark.gpu

FORM = {"dtype": "float32", "shape": [COUNT], "offset": 0}


@pytest.fixture
def values():
    return torch.randn(COUNT)


@pytest.fixture
def arguments(driver, values):
    memory = DeviceArgumentMemory(driver, [values])
    yield memory
    memory.close()


@pytest.fixture
def replies(driver):
    memory = DeviceReplyMemory(driver, COUNT * 4)
    yield memory
    memory.close()


def test_a_forked_child_computes_in_the_judges_memory(arguments, replies, values):
    run_worker("double", fds=(arguments.fd, replies.fd))
    assert bool(replies.read(FORM).isnan().all())  # nothing counts before the snapshot
    replies.snapshot()
    assert torch.equal(replies.read(FORM), 2 * values)
    assert arguments.unchanged()


def test_the_snapshot_stays_what_it_was(arguments, replies, values):
    run_worker("double", fds=(arguments.fd, replies.fd))
    replies.snapshot()
    run_worker("double", fds=(replies.fd, replies.fd))
    assert torch.equal(replies.read(FORM), 2 * values)
    replies.snapshot()
    assert torch.equal(replies.read(FORM), 4 * values)
    replies.poison()
    replies.snapshot()
    assert bool(replies.read(FORM).isnan().all())


def test_a_changed_input_is_seen(arguments):
    assert arguments.unchanged()
    run_worker("spoil", fds=(arguments.fd,))
    assert not arguments.unchanged()


def test_a_worker_may_keep_what_the_judge_lets_go(driver, values):
    memory = DeviceArgumentMemory(driver, [values])
    worker = start_worker("keep", fds=(memory.fd,))
    assert worker.stdout.readline().strip() == "mapped"
    memory.close()
    filler = driver.allocate(driver.facts.round_up(COUNT * 4))
    driver.fill(filler, 0)
    printed, _ = worker.communicate("\n", timeout=120)
    driver.free(filler)
    assert worker.returncode == 0
    assert float(printed) == pytest.approx(float(values.double().sum()), abs=1e-3)


def test_every_byte_around_an_argument_is_nan(driver):
    memory = DeviceArgumentMemory(driver, [torch.zeros(3, 4)[:, ::2]])
    try:
        raw = driver.read(memory._block, driver.facts.granularity_bytes)
        seen = torch.frombuffer(raw, dtype=torch.float32)
        assert seen[:11].isnan().tolist() == [False, True] * 5 + [False]
        assert bool(seen[11:].isnan().all())
    finally:
        memory.close()
