"""Headers and the writer of replies."""

import mmap

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.runner.tensors import (
    ALIGNMENT_BYTES,
    DTYPES,
    NAMES,
    ReplyTooLarge,
    ReplyWriter,
    TensorHeader,
    align,
    view,
)


def header(shape, strides, dtype="float32", offset=0):
    return TensorHeader(dtype=dtype, shape=shape, strides=strides, offset=offset)


@pytest.mark.parametrize(
    ("shape", "strides", "span"),
    [
        ((), (), 1),
        ((3,), (1,), 3),
        ((3,), (4,), 9),
        ((2, 3), (3, 1), 6),
        ((2, 3), (1, 2), 6),
        ((5, 3), (0, 1), 3),
        ((0, 3), (3, 1), 0),
        ((3, 0), (0, 1), 0),
    ],
)
def test_the_span_is_what_a_tensor_touches(shape, strides, span):
    assert header(shape, strides).span == span
    assert header(shape, strides).span_bytes == 4 * span
    assert header(shape, strides, "complex64").span_bytes == 8 * span


@given(st.integers(0, 1 << 40))
def test_alignment_is_the_next_multiple(offset):
    aligned = align(offset)
    assert aligned % ALIGNMENT_BYTES == 0
    assert 0 <= aligned - offset < ALIGNMENT_BYTES


def test_names_and_dtypes_belong_together():
    assert all(DTYPES[NAMES[dtype]] is dtype for dtype in NAMES)
    assert len(NAMES) == len(DTYPES)
    assert all(name == str(dtype).removeprefix("torch.") for dtype, name in NAMES.items())


def test_replies_are_written_contiguously_and_apart():
    memory = mmap.mmap(-1, 4096)
    writer = ReplyWriter(memory)
    first = torch.arange(6.0).reshape(2, 3).t()
    second = torch.tensor([True, False]).expand(3, 2)
    empty = torch.zeros(0, 4)
    grown = torch.ones(2, requires_grad=True)
    assert [writer.put(part) for part in (first, second, empty, grown)] == [0, 1, 2, 3]
    assert [h.offset % ALIGNMENT_BYTES for h in writer.headers] == [0] * 4
    for part, head in zip((first, second, empty, grown), writer.headers, strict=True):
        part_view = view(memory, head)
        assert part_view.is_contiguous()
        assert torch.equal(part_view, part)


def test_a_reply_that_does_not_fit_is_refused():
    writer = ReplyWriter(mmap.mmap(-1, 4096))
    writer.put(torch.zeros(1000))
    with pytest.raises(ReplyTooLarge, match="limit 4096"):
        writer.put(torch.zeros(100))


@pytest.mark.parametrize("dtype", [torch.complex128, torch.uint16])
def test_a_dtype_that_cannot_travel_is_refused(dtype):
    with pytest.raises(TypeError, match=str(dtype)):
        ReplyWriter(mmap.mmap(-1, 4096)).put(torch.zeros(1, dtype=dtype))


def test_the_json_form_holds_every_field():
    form = header((2, 3), (3, 1), offset=64).to_json()
    assert form == {"dtype": "float32", "shape": (2, 3), "strides": (3, 1), "offset": 64}
