"""The distance of a reply from the oracle's value: every kind of mismatch, every scale."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from grader.evidence.comparison import Mismatch, brief, compare_parts
from grader.runner.tensors import DTYPES

NAN, INF = math.nan, math.inf
finite = st.floats(-1e30, 1e30, allow_subnormal=False)
vectors = st.lists(finite, min_size=1, max_size=8)


def compare(got, want, **options):
    """Return the comparison of the worst part."""
    return max(compare_parts(got, want, **options), key=lambda part: part.error)


def t(*values, dtype=torch.float64):
    return torch.tensor(values, dtype=dtype)


@pytest.mark.parametrize(
    ("got", "want", "mismatch"),
    [
        (1.0, t(1.0), Mismatch.KIND),
        (None, t(1.0), Mismatch.KIND),
        ([1.0], t(1.0), Mismatch.KIND),
        (t(1.0, dtype=torch.float32), t(1.0), Mismatch.DTYPE),
        (t(1, dtype=torch.int32), t(1, dtype=torch.int64), Mismatch.DTYPE),
        (t(1.0, 1.0), t(1.0), Mismatch.SHAPE),
        (torch.zeros(2, 3), torch.zeros(3, 2), Mismatch.SHAPE),
        (torch.tensor(1.0), torch.tensor([1.0]), Mismatch.SHAPE),
        (t(1.0), 1.0, Mismatch.KIND),
        (1, 1.0, Mismatch.KIND),
        (True, 1, Mismatch.KIND),
        (0, False, Mismatch.KIND),
        (None, 0, Mismatch.KIND),
        ("1", 1, Mismatch.KIND),
        (torch.float32, "float32", Mismatch.KIND),
        (2, 3, Mismatch.VALUE),
        ("a", "b", Mismatch.VALUE),
        (torch.float32, torch.float16, Mismatch.VALUE),
        (t(NAN), t(1.0), Mismatch.NOT_FINITE),
        (t(INF), t(1.0), Mismatch.NOT_FINITE),
        (t(1.0), t(NAN), Mismatch.NOT_FINITE),
        (t(1.0), t(INF), Mismatch.NOT_FINITE),
        (t(-INF), t(INF), Mismatch.NOT_FINITE),
        (t(NAN), t(INF), Mismatch.NOT_FINITE),
        (t(INF, 0.0), t(0.0, INF), Mismatch.NOT_FINITE),
    ],
)
def test_each_kind_of_mismatch(got, want, mismatch):
    found = compare(got, want)
    assert (found.mismatch, found.error) == (mismatch, INF)


@pytest.mark.parametrize("value", [None, True, 0, 7, 2**80, 0.5, INF, "text", "", torch.bfloat16])
def test_equal_primitives(value):
    found = compare(value, value)
    assert (found.mismatch, found.error, found.dtype) == (Mismatch.NONE, 0.0, "value")


@pytest.mark.parametrize(
    ("got", "want", "mismatch"),
    [
        (torch.tensor(3), 3, Mismatch.NONE),
        (torch.tensor(True), True, Mismatch.NONE),
        (torch.tensor(0.5), 0.5, Mismatch.NONE),
        ([torch.tensor(3)], [3], Mismatch.NONE),
        (torch.tensor(4), 3, Mismatch.VALUE),
        (torch.tensor(3.0), 3, Mismatch.KIND),  # as 3.0 itself
        (torch.tensor([3]), 3, Mismatch.KIND),
        (torch.tensor(3), "3", Mismatch.KIND),
        (torch.tensor(3), None, Mismatch.KIND),
        (3, torch.tensor(3), Mismatch.KIND),
        (torch.tensor(3), torch.tensor([3]), Mismatch.SHAPE),
    ],
)
def test_a_tensor_without_dimensions_is_a_number_where_one_is_asked(got, want, mismatch):
    assert compare_parts(got, want)[0].mismatch is mismatch


def test_a_nan_primitive_equals_nothing():
    assert compare(NAN, NAN).mismatch is Mismatch.VALUE


def test_special_entries_are_equal_where_the_oracle_expects_them():
    want = t(NAN, INF, -INF, 2.0)
    found = compare(t(NAN, INF, -INF, 1.0), want)
    assert (found.mismatch, found.error, found.where) == (Mismatch.NONE, 0.5, "[3]")


def test_infinities_do_not_enter_the_scale():
    assert compare(t(INF, 3.0), t(INF, 2.0)).error == pytest.approx(0.5)


def test_the_scale_is_the_largest_of_the_tensor():
    want = torch.tensor([[100.0, 50.0], [1.0, 0.5]])
    got = torch.tensor([[100.0, 50.0], [1.0, 1.5]])
    whole = compare(got, want)
    assert whole.error == pytest.approx(0.01)
    assert (whole.where, whole.expected, whole.got) == ("[1, 1]", "0.5", "1.5")
    assert compare(got, want, per_row=True).error == pytest.approx(1.0)


def test_rows_of_zeros_have_scale_one():
    want = torch.tensor([[0.0, 0.0], [8.0, 8.0]])
    got = torch.tensor([[0.25, 0.0], [8.0, 8.0]])
    assert compare(got, want, per_row=True).error == 0.25
    assert compare(got, want).error == pytest.approx(0.25 / 8)


def test_zeros_do_not_pass_for_small_values():
    assert compare(t(0.0, 0.0), t(1e-30, 2e-30)).error == 1.0


def test_a_scalar_is_its_own_row():
    assert compare(torch.tensor(3.0), torch.tensor(2.0), per_row=True).error == 0.5


@pytest.mark.parametrize("per_row", [False, True])
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize("shape", [(0,), (3, 0), (0, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_empty_tensors_are_equal(shape, exact, per_row, dtype):
    want = torch.zeros(shape, dtype=dtype)
    assert compare(want.clone(), want, exact=exact, per_row=per_row).error == 0.0
    other = torch.zeros((*shape, 1), dtype=dtype)
    assert compare(other, want).mismatch is Mismatch.SHAPE


@pytest.mark.parametrize("dtype", DTYPES.values(), ids=list(DTYPES))
@pytest.mark.parametrize("exact", [False, True])
def test_a_tensor_of_any_dtype_equals_itself_and_no_other(dtype, exact):
    want = torch.tensor([1, 0, 1]).to(dtype)
    found = compare(want.clone(), want, exact=exact)
    assert (found.mismatch, found.error, f"torch.{found.dtype}") == (Mismatch.NONE, 0.0, str(dtype))
    other = compare(torch.tensor([1, 1, 1]).to(dtype), want, exact=exact)
    assert other.error > 0
    assert other.where == "[1]"


def test_integers_are_compared_exactly():
    want = t(2**53, 2**62, dtype=torch.int64)
    found = compare(t(2**53, 2**62 + 1, dtype=torch.int64), want)
    assert (found.mismatch, found.error, found.where) == (Mismatch.VALUE, INF, "[1]")
    assert (found.expected, found.got) == (str(2**62), str(2**62 + 1))
    assert compare(2**53 + 1, 2**53).mismatch is Mismatch.VALUE


def test_one_unit_in_the_last_place_fails_only_an_exact_comparison():
    want = t(1.0, 2.0)
    got = t(1.0, math.nextafter(2.0, 3.0))
    assert compare(got, want).error == pytest.approx(2**-52)
    found = compare(got, want, exact=True)
    assert (found.mismatch, found.error, found.where) == (Mismatch.VALUE, INF, "[1]")


def test_exactly_a_nan_equals_only_a_nan_at_the_same_index():
    assert compare(t(NAN, 1.0), t(NAN, 1.0), exact=True).error == 0.0
    assert compare(t(1.0, NAN), t(NAN, 1.0), exact=True).mismatch is Mismatch.VALUE


def test_nested_values_name_the_index_of_the_worst_entry():
    want = {"a": [t(1.0), t(4.0)], "b": (1, {"c": t(2.0, 2.0)})}
    got = {"a": [t(1.0), t(4.0)], "b": [1, {"c": t(2.0, 3.0)}]}
    found = compare(got, want)
    assert (found.error, found.where, found.mismatch) == (0.5, "['b'][1]['c'][1]", Mismatch.NONE)


@pytest.mark.parametrize(
    ("got", "want"),
    [
        ([1], [1, 2]),
        ([1, 2, 3], [1, 2]),
        ({"a": 1}, [1]),
        ([1], {"a": 1}),
        ({"a": 1, "b": 2}, {"a": 1}),
        ({}, {"a": 1}),
        (None, []),
        ("", []),
        (t(1.0), [1.0]),
    ],
)
def test_containers_of_another_form(got, want):
    assert compare(got, want).mismatch is Mismatch.KIND


@pytest.mark.parametrize("empty", [[], (), {}])
def test_empty_containers_are_equal(empty):
    assert compare(type(empty)(), empty).error == 0.0


@given(vectors)
def test_everything_finite_equals_itself(values):
    assert compare(t(*values), t(*values)).error == 0.0
    assert compare(t(*values), t(*values), exact=True).error == 0.0


@given(vectors, st.data())
def test_a_nan_anywhere_is_never_within_a_tolerance(values, data):
    spoiled = list(values)
    spoiled[data.draw(st.integers(0, len(values) - 1))] = NAN
    assert compare(t(*spoiled), t(*values)).error == INF


@given(vectors, vectors, st.floats(1e-3, 1e3))
def test_the_error_does_not_depend_on_units(want, got, factor):
    size = min(len(want), len(got))
    w, g = t(*want[:size]), t(*got[:size])
    assume(float(w.abs().max()) > 1e-200)
    once, scaled = compare(g, w).error, compare(g * factor, w * factor).error
    assert scaled == pytest.approx(once, rel=1e-9)


@given(vectors, st.integers(-8, 8))
def test_an_error_of_known_size_is_measured(values, exponent):
    want = t(*values)
    scale = float(want.abs().max()) or 1.0
    assume(scale > 1e-200)
    got = want.clone()
    got[0] += scale * 2.0**exponent
    assert compare(got, want).error == pytest.approx(2.0**exponent, rel=1e-6)


@pytest.mark.parametrize(
    "value", [torch.zeros(100), list(range(100)), "x" * 1000, {"k": "v" * 999}]
)
def test_brief_is_brief(value):
    assert len(brief(value)) <= 160
    assert "…" in brief(value)


def test_brief_of_a_tensor_has_dtype_and_shape():
    assert brief(torch.zeros(1, 2, dtype=torch.bfloat16)) == "bfloat16[1, 2] [0, 0]"
