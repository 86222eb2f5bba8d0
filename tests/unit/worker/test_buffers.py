"""Shared memory: what is sent arrives, what is claimed is checked, nobody resizes anything."""

import contextlib
import fcntl
import math
import os

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from grader.errors import ChannelError
from grader.runner.tensors import DTYPES, ReplyWriter, TensorHeader, map_memory, view
from grader.worker import buffers
from grader.worker.buffers import ArgumentMemory, ReplyMemory, make_memory_file

REPLY_BYTES = 1 << 16
EIGHT_BIT = {torch.float8_e4m3fn, torch.float8_e5m2}


def same(a, b):
    if a.dtype in EIGHT_BIT:
        a, b = a.float(), b.float()
    if a.is_complex():
        a, b = torch.view_as_real(a.resolve_conj()), torch.view_as_real(b.resolve_conj())
    return a.shape == b.shape and torch.equal(a.nan_to_num(123), b.nan_to_num(123))


def numbers(shape, dtype):
    count = math.prod(shape)
    return (torch.arange(count) % 5).reshape(shape).to(dtype)


@contextlib.contextmanager
def sent(*tensors):
    """Yield the memory and what the worker sees in it, mapped through a descriptor of its own."""
    memory = ArgumentMemory(list(tensors))
    mapped = map_memory(os.dup(memory.fd), populate=True)
    try:
        yield memory, [view(mapped, header) for header in memory.headers]
    finally:
        memory.close()


@contextlib.contextmanager
def reply_memory():
    memory = ReplyMemory(REPLY_BYTES)
    try:
        yield memory
    finally:
        memory.close()


def replied(memory, *tensors):
    writer = ReplyWriter(map_memory(memory.fd, populate=False))
    for tensor in tensors:
        writer.put(tensor)
    return [
        memory.read(header.to_json() | {"shape": list(header.shape)}) for header in writer.headers
    ]


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize("shape", [(), (1,), (3, 5), (0,), (2, 0, 3)])
def test_every_dtype_goes_there_and_back(dtype, shape):
    tensor = numbers(shape, dtype)
    with sent(tensor) as (memory, (seen,)):
        assert same(seen, tensor)
        assert (seen.dtype, seen.stride()) == (dtype, tensor.stride())
        assert memory.unchanged()
    with reply_memory() as memory:
        (back,) = replied(memory, tensor)
        assert same(back, tensor)
        assert back.dtype == dtype


@st.composite
def strided(draw):
    """A tensor with any order of dimensions, gaps, and expanded dimensions."""
    dims = draw(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 3)), max_size=4))
    dtype = draw(st.sampled_from([torch.float32, torch.bfloat16, torch.int64, torch.bool]))
    tensor = numbers(tuple(size * step for size, step in dims), dtype)
    tensor = tensor[tuple(slice(None, None, step) for _, step in dims)]
    tensor = tensor.permute(draw(st.permutations(range(tensor.dim()))))
    for place in range(tensor.dim()):
        if tensor.shape[place] == 1 and draw(st.booleans()):
            sizes = [-1] * tensor.dim()
            sizes[place] = draw(st.integers(1, 4))
            tensor = tensor.expand(sizes)
    return tensor


@settings(deadline=None)
@given(st.lists(strided(), max_size=3))
@example([torch.arange(3.0).expand(4, 3)])
@example([torch.tensor(1.0).expand(2, 3)])
@example([torch.zeros(1, 0).expand(5, 0)])
def test_any_strides_arrive_as_they_are(tensors):
    with sent(*tensors) as (memory, seen):
        for left, right in zip(seen, tensors, strict=True):
            assert same(left, right)
            assert left.stride() == right.stride()
        assert memory.unchanged()
        memory.overwrite()
        assert memory.unchanged() == all(tensor.numel() == 0 for tensor in tensors)
    with reply_memory() as replies:
        assert all(
            same(a, b) and a.is_contiguous()
            for a, b in zip(replied(replies, *tensors), tensors, strict=True)
        )


def test_windows_that_overlap_arrive():
    tensor = torch.arange(6.0).unfold(0, 3, 1)
    with sent(tensor) as (_, (seen,)):
        assert same(seen, tensor)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16])
def test_gaps_hold_nan(dtype):
    tensor = numbers((4, 6), dtype)[:, ::2]
    with sent(tensor) as (_, (seen,)):
        row = torch.as_strided(seen, (6,), (1,))
        assert row[::2].tolist() == tensor[0].tolist()
        assert bool(row[1::2].isnan()[:2].all())


def test_the_worker_changes_an_argument():
    with sent(torch.zeros(3), torch.ones(2)) as (memory, (_, second)):
        second[1] = 5.0
        assert not memory.unchanged()
        second[1] = 1.0
        assert memory.unchanged()


def test_a_change_in_a_gap_is_seen():
    with sent(torch.zeros(3, 4)[:, ::2]) as (memory, (seen,)):
        torch.as_strided(seen, (1,), (1,), seen.storage_offset() + 1).fill_(0.0)
        assert not memory.unchanged()


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
def test_overwritten_arguments_hold_something_else(dtype):
    with sent(torch.zeros(2, 3).to(dtype).t()) as (memory, (seen,)):
        memory.overwrite()
        assert not memory.unchanged()
        assert bool((seen.to(torch.complex64) != 0).all())


def test_memory_that_is_taken_back_reads_zeros_and_may_be_used_again():
    memory = ArgumentMemory([torch.ones(3000), torch.arange(7)])
    theirs = map_memory(memory.fd, populate=True)
    before = os.fstat(memory.fd)
    memory.reclaim()
    after = os.fstat(memory.fd)
    assert bytes(theirs) == bytes(len(theirs))
    assert (after.st_size, after.st_blocks) == (before.st_size, 0)  # nobody holds a page of it
    assert before.st_blocks > 0
    theirs[:4] = b"kept"
    assert theirs[:4] == b"kept"
    assert os.fstat(memory.fd).st_blocks > 0
    memory.close()


def test_memory_that_cannot_be_taken_back_is_an_error(monkeypatch):
    memory = ArgumentMemory([torch.ones(3)])
    monkeypatch.setattr(buffers, "_fallocate", lambda *args: -1)
    with pytest.raises(ChannelError, match="take memory back"):
        memory.reclaim()
    memory.close()


def test_no_tensors_need_no_memory():
    with sent() as (memory, seen):
        assert (memory.headers, seen) == ([], [])
        assert memory.unchanged()


GOOD = {"dtype": "float32", "shape": [2, 3], "strides": [3, 1], "offset": 64}


def test_a_correct_header_is_accepted():
    with reply_memory() as memory:
        assert memory.read(GOOD).tolist() == [[0.0] * 3] * 2


@pytest.mark.parametrize(
    "change",
    [
        {"dtype": "float31"},
        {"dtype": None},
        {"dtype": ["float32"]},
        {"dtype": {}},
        {"shape": None},
        {"shape": 6},
        {"shape": "23"},
        {"shape": {"0": 2}},
        {"shape": [2, -3]},
        {"shape": [2, 3.0]},
        {"shape": [True, 3]},
        {"shape": [2, None]},
        {"shape": [[2], 3]},
        {"shape": [1] * 17},
        {"shape": [2**62, 2**62]},
        {"shape": [1 << 40, 0]},
        {"shape": [REPLY_BYTES] * 4},
        {"shape": [0] + [REPLY_BYTES] * 15},
        {"shape": [REPLY_BYTES] * 15 + [0]},
        {"shape": [REPLY_BYTES // 4]},
        {"offset": -64},
        {"offset": 2},
        {"offset": None},
        {"offset": 64.0},
        {"offset": True},
        {"offset": "64"},
        {"offset": REPLY_BYTES},
        {"offset": 1 << 70},
        {"shape": [0], "offset": REPLY_BYTES + 4},
    ],
    ids=str,
)
def test_a_hostile_header_is_no_surprise(change):
    with reply_memory() as memory, pytest.raises(ChannelError):
        memory.read(GOOD | change)


@pytest.mark.parametrize("form", [None, 3, "float32", [], {}, {"dtype": "float32"}])
def test_what_is_no_header_is_refused(form):
    with reply_memory() as memory, pytest.raises(ChannelError):
        memory.read(form)


@settings(deadline=None, max_examples=200)
@given(
    st.dictionaries(
        st.sampled_from(["dtype", "shape", "offset"]),
        st.one_of(
            st.sampled_from(list(DTYPES)),
            st.lists(st.integers(-1, 1 << 64), max_size=18),
            st.lists(st.integers(0, 300), max_size=5),
            st.integers(-5, 1 << 64),
            st.none(),
        ),
    )
)
def test_a_claimed_header_gives_a_tensor_or_a_channel_error(change):
    with reply_memory() as memory, contextlib.suppress(ChannelError):
        assert memory.read(GOOD | change).numel() <= REPLY_BYTES


def test_claimed_strides_are_not_used():
    with reply_memory() as memory:
        assert memory.read(GOOD | {"strides": [10**9, -1]}).stride() == (3, 1)


def test_a_reply_is_a_copy():
    with reply_memory() as memory:
        header = TensorHeader(dtype="float32", shape=(2,), strides=(1,), offset=0)
        theirs = view(map_memory(memory.fd, populate=False), header)
        theirs.fill_(1.0)
        got = memory.read({"dtype": "float32", "shape": [2], "offset": 0})
        theirs.fill_(2.0)
        assert got.tolist() == [1.0, 1.0]


@pytest.mark.parametrize("size", [0, 1, 5000])
def test_a_memory_file_cannot_be_resized(size):
    fd = make_memory_file(size)
    try:
        before = os.fstat(fd).st_size
        assert before >= max(size, 1)
        for new in (0, before - 1, before + 1):
            with pytest.raises(PermissionError):
                os.ftruncate(fd, new)
        with pytest.raises(PermissionError):
            os.posix_fallocate(fd, before, 10)
        assert os.fstat(fd).st_size == before
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)
    finally:
        os.close(fd)
