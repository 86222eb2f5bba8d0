"""Tensors and numbers as Python: every bit, dtype and stride comes back."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.expression_text import (
    MAX_ENTRIES,
    Group,
    Leaf,
    describe_tensor,
    lay_out,
    write_number,
    write_tensor,
)
from grader.student.tensors import with_strides
from grader.student.trace import to_json

DTYPES = [
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.bool),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8),
]


def content(tensor):
    return to_json(tensor)["t"]


def again(text):
    return eval(text, {"torch": torch})


def same_bits(one, other):
    """Whether tensors are equal, bit for bit but for the kind of NaN."""
    if not one.dtype.is_floating_point:
        return torch.equal(one, other)
    signs = torch.equal(torch.signbit(one.nan_to_num()), torch.signbit(other.nan_to_num()))
    return signs and torch.allclose(one.double(), other.double(), rtol=0, atol=0, equal_nan=True)


def any_bits(dtype, data, count):
    bits = data.draw(st.lists(st.integers(0, 255), min_size=8 * count, max_size=8 * count))
    whole = torch.tensor(bits, dtype=torch.uint8)
    return (whole > 127)[:count] if dtype is torch.bool else whole.view(dtype)[:count]


@settings(deadline=None)
@given(st.data(), st.sampled_from(DTYPES))
def test_every_small_tensor_comes_back(data, dtype):
    sizes = st.lists(st.integers(1, 4), max_size=3).filter(lambda s: math.prod(s) <= MAX_ENTRIES)
    shape = data.draw(sizes)
    order = data.draw(st.permutations(range(len(shape))))
    gap = data.draw(st.integers(1, 2))
    strides, step = [0] * len(shape), gap
    for dimension in order:
        strides[dimension] = step
        step *= shape[dimension]
    if shape and data.draw(st.booleans()):
        strides[order[-1]] = 0
    entries = any_bits(dtype, data, math.prod(shape)).reshape(shape)
    if shape and strides[order[-1]] == 0:
        entries = entries.narrow(order[-1], 0, 1).expand(shape)
    tensor = with_strides(entries, tuple(strides))
    text = write_tensor(content(tensor))
    if not text:  # too many gaps to be written
        assert sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) >= 2 * MAX_ENTRIES
        return
    result = again(text)
    assert (result.dtype, result.shape) == (dtype, tensor.shape)
    assert same_bits(result, tensor)
    for size, stride, wanted in zip(shape, result.stride(), strides, strict=True):
        assert size == 1 or stride == wanted


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (torch.tensor([[1.0, 2.0]]), "torch.tensor([[1.0, 2.0]])"),
        (torch.tensor(3), "torch.tensor(3)"),
        (torch.tensor([0.1], dtype=torch.float16), "torch.tensor([0.1], dtype=torch.float16)"),
        (torch.tensor([-0.0, torch.inf, torch.nan]), "torch.tensor([-0.0, torch.inf, torch.nan])"),
        (torch.empty(2, 0, dtype=torch.int8), "torch.empty((2, 0), dtype=torch.int8)"),
        (
            torch.tensor([[1, 2], [3, 4]]).t(),
            "torch.tensor([[1, 2], [3, 4]]).transpose(0, 1)",
        ),
        (
            torch.tensor([5, 6, 7])[::2],
            "torch.tensor([5, 0, 7]).as_strided((2,), (2,))",
        ),
        (torch.zeros(MAX_ENTRIES + 1), ""),
        (torch.zeros(2, dtype=torch.complex64), ""),
    ],
)
def test_tensors_read_as_one_would_write_them(tensor, text):
    assert write_tensor(content(tensor)) == text


def test_a_description_has_dtype_shape_and_unusual_strides():
    assert describe_tensor(content(torch.zeros(2, 3, 5))) == "float32 [2, 3, 5]"
    turned = torch.zeros(9, 2, dtype=torch.float16).t()
    assert describe_tensor(content(turned)) == "float16 [2, 9], strides (1, 2)"
    assert describe_tensor(content(torch.tensor([3, 4]))) == "int64 [2]: 3, 4"


@settings(deadline=None)
@given(st.floats() | st.integers() | st.booleans())
def test_numbers_come_back(value):
    result = again(write_number(value))
    assert type(result) is type(value)
    assert result == value or (math.isnan(result) and math.isnan(value))


def test_a_line_with_two_comments_is_broken():
    call = Group("f(", (("", Leaf("a", "first")), ("b=", Leaf("2"))), ")")
    assert lay_out(call, "x = ", "") == ["x = f(a, b=2)  # first"]
    assert lay_out(call, "x = ", "", "last") == [
        "x = f(  # last",
        "    a,  # first",
        "    b=2,",
        ")",
    ]
