"""Typed JSON keeps every value, every byte and every stride."""

import json
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.steps import Ref
from grader.runner.protocol import ProtocolError
from grader.runner.tensors import DTYPES
from grader.student.tensors import with_strides
from grader.student.trace import ReplyPart, from_json, to_json


def round_trip(value):
    return from_json(json.loads(json.dumps(to_json(value))))


@pytest.mark.parametrize("name", sorted(DTYPES))
def test_every_dtype_keeps_its_bytes(name):
    raw = torch.arange(16, dtype=torch.uint8).remainder(2)
    tensor = raw.view(DTYPES[name]) if name != "bool" else raw.to(torch.bool)
    back = round_trip(tensor)
    assert back.dtype is tensor.dtype
    assert torch.equal(back.view(torch.uint8), tensor.view(torch.uint8))


@pytest.mark.parametrize(
    "tensor",
    [
        torch.arange(12.0).view(3, 4).T,
        torch.arange(12.0).view(3, 4)[:, ::2],
        torch.arange(3.0).expand(2, 3),
        torch.arange(4.0)[::2][:1],
        torch.tensor(3.5),
        torch.empty(0, 4),
        torch.empty(2, 0),
    ],
    ids=["transposed", "sliced", "expanded", "one entry", "scalar", "no rows", "no columns"],
)
def test_strides_survive(tensor):
    back = round_trip(tensor)
    assert back.stride() == tensor.stride()
    assert torch.equal(back, tensor)


def test_special_floats_survive():
    tensor = torch.tensor([math.nan, math.inf, -math.inf, -0.0, 1e-45])
    assert torch.equal(round_trip(tensor).view(torch.int32), tensor.view(torch.int32))
    assert math.isnan(round_trip(math.nan))
    assert round_trip(-math.inf) == -math.inf


def test_gaps_between_strided_entries_are_nan():
    copy = with_strides(torch.ones(3), (2,))
    assert torch.isnan(copy.as_strided((2,), (2,), 1)).all()


leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
trees = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text() | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)


@settings(max_examples=100, deadline=None)
@given(trees)
def test_containers_keep_their_types(tree):
    back = round_trip(tree)
    assert back == tree
    assert repr(back) == repr(tree)


def test_references_dtypes_and_reply_parts_survive():
    value = (Ref(3), torch.bfloat16, ReplyPart(step=2, path=("keys", 0)))
    assert round_trip(value) == value


@pytest.mark.parametrize(
    "value", [object(), {1, 2}, b"bytes", torch.tensor([1], dtype=torch.uint16)]
)
def test_what_cannot_travel_is_refused(value):
    with pytest.raises(TypeError, match=r"cannot be recorded"):
        to_json(value)


def test_unknown_forms_are_refused():
    with pytest.raises(ProtocolError):
        from_json({"z": 1})
