"""The roofline floor is the larger of two times; a time below it gives evidence."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from grader.errors import AuthorError
from grader.evidence.device import MatmulRate
from grader.performance.decide.plausibility import beats_floor, floor_ns
from tests.unit.performance.measure.ceiling_samples import CEILINGS

counts = st.integers(0, 10**15)


def test_the_larger_time_is_the_floor():
    assert floor_ns(5_000_000, 0, CEILINGS) == pytest.approx(1000)
    assert floor_ns(0, 8 * 10**8, CEILINGS) == pytest.approx(1000)
    assert floor_ns(5_000_000, 16 * 10**8, CEILINGS) == pytest.approx(2000)


def test_a_dtype_has_its_own_rate_and_an_unknown_one_the_fastest():
    flops = 5 * 10**10
    exact = dataclasses.replace(CEILINGS, matmul=CEILINGS.matmul[:1])
    assert floor_ns(0, flops, exact, dtype="float32") == pytest.approx(1_000_000)
    assert floor_ns(0, flops, CEILINGS, dtype="float8_e5m2") == floor_ns(0, flops, CEILINGS)


def test_work_may_be_done_in_a_more_precise_dtype():
    slow = MatmulRate(dtype="bfloat16", flops_per_s=1e9, size=64)
    reduced = MatmulRate(dtype="tf32", flops_per_s=3e14, size=64)
    ceilings = dataclasses.replace(CEILINGS, matmul=(CEILINGS.matmul[0], slow, reduced))
    assert ceilings.flops_per_s("bfloat16") == 3e14
    assert ceilings.flops_per_s("float32") == 1e14
    assert dataclasses.replace(ceilings, matmul=(slow,)).flops_per_s("float64") == 1e9


def test_float32_may_be_made_of_several_products_of_less():
    bfloat16 = MatmulRate(dtype="bfloat16", flops_per_s=6e14, size=64)
    ceilings = dataclasses.replace(CEILINGS, matmul=(CEILINGS.matmul[0], bfloat16))
    assert ceilings.flops_per_s("float32") == 1e14


@given(counts, counts, counts)
def test_more_work_never_takes_less(bytes_moved, flops, more):
    floor = floor_ns(bytes_moved, flops, CEILINGS)
    assert floor_ns(bytes_moved + more, flops, CEILINGS) >= floor
    assert floor_ns(bytes_moved, flops + more, CEILINGS) >= floor


def test_only_what_is_clearly_below_is_impossible():
    assert not beats_floor(1000.0, 1000.0)
    assert not beats_floor(860.0, 1000.0)
    assert "below the roofline floor of 1.000 us" in beats_floor(500.0, 1000.0)
    assert beats_floor(860.0, 1000.0, slack=0.1)


def test_counts_are_not_negative():
    with pytest.raises(AuthorError):
        floor_ns(-1, 0, CEILINGS)
