"""Blocks of a device: what is sent arrives, what is claimed is checked, a copy is what counts."""

import contextlib
import os

import pytest
import torch

from grader.errors import ChannelError, DeviceError
from grader.runner.tensors import DTYPES, ReplyWriter, map_memory, view
from grader.worker.buffers import Arguments
from grader.worker.cuda.buffers import DeviceArgumentMemory, DeviceReplyMemory
from tests.unit.worker.cuda.fake_driver import FakeDriver

REPLY_BYTES = 10_000


@pytest.fixture
def driver():
    made = FakeDriver(total_bytes=1 << 24)
    yield made
    made.close()  # complains of blocks that were forgotten


@contextlib.contextmanager
def sent(driver, *tensors):
    memory = DeviceArgumentMemory(driver, list(tensors))
    try:
        mapped = map_memory(memory.fd, populate=True)
        yield memory, [view(mapped, header) for header in memory.headers]
    finally:
        memory.close()


@contextlib.contextmanager
def replies_of(driver, size=REPLY_BYTES):
    memory = DeviceReplyMemory(driver, size)
    try:
        yield memory, map_memory(memory.fd, populate=False)
    finally:
        memory.close()


def test_they_stand_in_for_those_of_this_machine(driver):
    with sent(driver, torch.ones(1)) as (memory, _), replies_of(driver) as (replies, _):
        arguments: Arguments = memory
        assert arguments.fd != replies.fd


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
def test_every_dtype_goes_there_and_back(driver, dtype):
    tensor = (torch.arange(24) % 5).reshape(4, 6).to(dtype)[:, ::2]
    with sent(driver, tensor, tensor[:2]) as (memory, seen):
        for left, right in zip(seen, (tensor, tensor[:2]), strict=True):
            assert left.dtype == dtype
            assert left.stride() == right.stride()
            assert torch.equal(
                left.contiguous().view(torch.uint8), right.contiguous().view(torch.uint8)
            )
        assert memory.unchanged()
    with replies_of(driver) as (replies, mapped):
        writer = ReplyWriter(mapped)
        writer.put(tensor)
        replies.snapshot()
        form = writer.headers[0].to_json() | {"shape": list(tensor.shape)}
        back = replies.read(form)
        assert back.dtype == dtype
        assert torch.equal(back.view(torch.uint8), tensor.contiguous().view(torch.uint8))


def test_all_around_a_tensor_is_nan(driver):
    with sent(driver, torch.zeros(3, 4)[:, ::2], torch.zeros(1, dtype=torch.bfloat16)) as (
        memory,
        (seen, last),
    ):
        row = torch.as_strided(seen, (4,), (1,))
        assert row.isnan().tolist() == [False, True, False, True]
        mapped = map_memory(memory.fd, populate=True)
        end = memory.headers[1].offset + last.nbytes
        assert set(mapped[end:]) == {0xFF}
        assert bool(torch.frombuffer(mapped, dtype=torch.bfloat16, offset=end).isnan().all())


def test_the_worker_changes_an_argument(driver):
    with sent(driver, torch.zeros(3)) as (memory, (seen,)):
        seen[1] = 5.0
        assert not memory.unchanged()
        seen[1] = 0.0
        assert memory.unchanged()


def test_a_change_after_the_last_tensor_is_seen(driver):
    with sent(driver, torch.zeros(3)) as (memory, _):
        os.pwrite(memory.fd, b"\0", 4000)
        assert not memory.unchanged()


def test_a_caller_reuses_or_reclaims_its_buffers(driver):
    with sent(driver, torch.zeros(3), torch.zeros(2, dtype=torch.bool)) as (memory, seen):
        memory.overwrite()
        assert seen[0].tolist() == [77.0] * 3
        assert seen[1].tolist() == [True] * 2
        memory.reclaim()
        assert seen[0].tolist() == [0.0] * 3


def test_no_tensors_need_a_block_all_the_same(driver):
    with sent(driver) as (memory, seen):
        assert seen == []
        assert memory.unchanged()


def write_one(mapped, value):
    writer = ReplyWriter(mapped)
    writer.put(torch.full((8,), value))
    return writer.headers[0].to_json() | {"shape": [8]}


def test_only_the_snapshot_counts(driver):
    with replies_of(driver) as (replies, mapped):
        form = write_one(mapped, 1.0)
        replies.snapshot()
        write_one(mapped, 2.0)  # a kernel that ran on
        assert replies.read(form).tolist() == [1.0] * 8
        replies.snapshot()
        assert replies.read(form).tolist() == [2.0] * 8


def test_a_reply_that_was_not_written_is_nan(driver):
    with replies_of(driver) as (replies, mapped):
        form = write_one(mapped, 1.0)
        replies.snapshot()
        replies.poison()
        replies.snapshot()
        assert bool(replies.read(form).isnan().all())


def test_before_any_snapshot_there_is_nothing(driver):
    with replies_of(driver) as (replies, mapped):
        assert bool(replies.read(write_one(mapped, 1.0)).isnan().all())


@pytest.mark.parametrize(
    "form",
    [
        None,
        {"dtype": "float32", "shape": [1], "offset": REPLY_BYTES},
        {"dtype": "float32", "shape": [REPLY_BYTES], "offset": 0},
        {"dtype": "float32", "shape": [1], "offset": 2},
        {"dtype": "object", "shape": [1], "offset": 0},
    ],
)
def test_a_broken_claim_is_refused(driver, form):
    with replies_of(driver) as (replies, _), pytest.raises(ChannelError):
        replies.read(form)


def test_free_memory_is_counted(driver):
    with replies_of(driver) as (replies, mapped):
        form = write_one(mapped, 1.0)
        assert replies.read(form, 32).shape == (8,)
        with pytest.raises(ChannelError, match="larger together"):
            replies.read(form, 31)


@pytest.mark.parametrize("call", ["allocate", "write", "export", "fill"])
def test_nothing_stays_when_the_driver_refuses(driver, call):
    driver.failing[call] = 2
    with pytest.raises(DeviceError):
        DeviceReplyMemory(driver, REPLY_BYTES)
    if call != "fill":
        with pytest.raises(DeviceError):
            DeviceArgumentMemory(driver, [torch.ones(2)])
    driver.failing.clear()
    assert driver.free_bytes() == driver.facts.total_bytes


def test_a_refusal_while_reading_is_ours(driver):
    with replies_of(driver) as (replies, mapped):
        form = write_one(mapped, 1.0)
        driver.failing["copy"] = 719
        with pytest.raises(DeviceError):
            replies.snapshot()
        driver.failing["read"] = 719
        with pytest.raises(DeviceError):
            replies.read(form)
        driver.failing.clear()
