"""Orders to the fork server survive a round trip through JSON."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.runner.order import Denial, ForkOrder, WorkerKind

orders = st.builds(
    ForkOrder,
    kind=st.sampled_from(WorkerKind),
    uid=st.integers(0, 2**32 - 1),
    home=st.text(),
    judge_pid_namespace=st.text(),
    memory_bytes=st.integers(0, 2**60),
    processes=st.integers(0, 10_000),
    file_bytes=st.integers(0, 2**40),
    threads=st.integers(1, 64),
    device=st.sampled_from(["cpu", "cuda"]),
    denial=st.builds(Denial, problem=st.text(), entries=st.lists(st.text()).map(tuple)),
)


@given(orders)
def test_an_order_comes_back_equal(order):
    back = ForkOrder.from_json(json.loads(json.dumps(order.to_json())))
    assert back == order
    assert isinstance(back.kind, WorkerKind)


@given(orders, st.sampled_from(["kind", "uid", "device", "denial"]))
def test_an_order_without_a_field_is_no_order(order, field):
    form = order.to_json()
    del form[field]
    with pytest.raises((TypeError, KeyError)):
        ForkOrder.from_json(form)


@given(orders)
def test_an_unknown_kind_or_field_is_no_order(order):
    with pytest.raises(ValueError, match="rubber"):
        ForkOrder.from_json(order.to_json() | {"kind": "rubber"})
    with pytest.raises(TypeError, match="surprise"):
        ForkOrder.from_json(order.to_json() | {"surprise": 1})
