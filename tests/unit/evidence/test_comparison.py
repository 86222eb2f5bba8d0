"""The distance of a reply from the oracle's value: every kind of mismatch, every scale."""

import math

import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st

from grader.assignment.steps import Beyond
from grader.errors import AuthorError
from grader.evidence.comparison import (
    Mismatch,
    brief,
    compare_parts,
    dtypes_of,
    labels_of_parts,
    name_part,
)
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
    ("got", "want", "mismatch", "difference"),
    [
        ([1], [1, 2], Mismatch.LENGTH, "it has 1 entry, not 2 entries"),
        ((1, 2, 3), [], Mismatch.LENGTH, "it has 3 entries, not 0 entries"),
        ({"a": 1}, [1], Mismatch.KIND, "it is a dict, not a list"),
        ([1], {"a": 1}, Mismatch.KIND, "it is a list, not a dict"),
        (
            {"a": 1, "b": 2},
            {"a": 1},
            Mismatch.KEYS,
            "0 of its 1 keys are missing, 1 are not expected",
        ),
        ({}, {"a": 1}, Mismatch.KEYS, "1 of its 1 keys are missing, 0 are not expected"),
        (None, [], Mismatch.KIND, "it is None, not a list"),
        ("", [], Mismatch.KIND, "it is a text, not a list"),
        (t(1.0), [1.0], Mismatch.KIND, "it is a tensor, not a list"),
        (True, 1, Mismatch.KIND, "it is a bool, not an int"),
        (t(1.0), t(1.0, dtype=torch.half), Mismatch.DTYPE, "it has dtype float64, not float16"),
        (torch.zeros(2, 3), torch.zeros(2), Mismatch.SHAPE, "it has 2 dimensions, not 1"),
        (
            torch.zeros(2, 3),
            torch.zeros(2, 4),
            Mismatch.SHAPE,
            "the shape is not [2, 4]: dimension 1 differs",
        ),
    ],
)
def test_another_form_is_said_in_words(got, want, mismatch, difference):
    found = compare(got, want)
    assert (found.mismatch, found.difference) == (mismatch, difference)


ZEROS = t(0.0, -0.0)


def test_the_sign_of_a_zero_counts_bit_for_bit_only():
    assert compare(ZEROS, -ZEROS).error == 0.0
    assert compare(ZEROS, ZEROS.clone(), exact=True).error == 0.0
    found = compare(ZEROS, -ZEROS, exact=True)
    assert (found.mismatch, found.where) == (Mismatch.VALUE, "[0]")
    assert found.difference == "a zero has the other sign"


def test_the_bits_of_a_nan_do_not_count():
    other = torch.tensor([0x7FC1, 0x3F80], dtype=torch.int16).view(torch.bfloat16)
    assert compare(other, t(NAN, 1.0, dtype=torch.bfloat16), exact=True).error == 0.0


FEW_BITS = st.sampled_from([torch.float16, torch.bfloat16, torch.float32])


def neighbours(value, dtype):
    """Return the numbers of a dtype next below and above a float64, by bisection of its bits."""
    width = {2: torch.int16, 4: torch.int32}[dtype.itemsize]
    low, high = 0, int(torch.tensor(INF, dtype=dtype).view(width))
    while high - low > 1:
        middle = (low + high) // 2
        number = torch.tensor(middle, dtype=width).view(dtype)
        low, high = (middle, high) if float(number) <= abs(value) else (low, middle)
    return [
        math.copysign(1, value) * float(torch.tensor(one, dtype=width).view(dtype))
        for one in (low, high)
    ]


@given(FEW_BITS, st.one_of(st.floats(-1e5, 1e5), st.floats(-1e39, 1e39), st.floats(-1e-6, 1e-6)))
def test_rounded_once_takes_the_nearest_number_and_no_other(dtype, value):
    below, above = neighbours(value, dtype)
    largest = torch.finfo(dtype).max
    # The nearest number may be infinite: it counts as the next after the largest.
    beyond = math.copysign(2 * largest - neighbours(math.nextafter(largest, 0), dtype)[0], value)
    gaps = [abs(value - below), abs(value - (beyond if math.isinf(above) else above))]
    assume(abs(gaps[0] - gaps[1]) > 1e-5 * max(gaps))  # halfway, both are taken
    for number, gap in zip((below, above), gaps, strict=True):
        found = compare(t(number, dtype=dtype), t(value), rounded_once=dtype)
        assert (found.mismatch is Mismatch.NONE) is (gap == min(gaps)), (number, found)


@pytest.mark.parametrize(
    ("got", "want", "right"),
    [
        (65504.0, 65519.0, True),
        (INF, 65519.0, False),
        (INF, 65521.0, True),
        (65504.0, 65536.0, False),
        (-INF, 65521.0, False),
        (INF, INF, True),
        (NAN, NAN, True),
        (NAN, 1.0, False),
        (1.0, NAN, False),
        (0.0, 2.0**-26, True),
        (0.0, 2.0**-25 * 1.01, False),
        (1.0, 1.0 + 2**-11, True),  # halfway
        (1.0 + 2**-10, 1.0 + 2**-11, True),
        (-0.0, 0.0, True),
    ],
)
def test_rounding_at_the_edges_of_half_precision(got, want, right):
    found = compare(t(got, dtype=torch.half), t(want), rounded_once=torch.half)
    assert (found.mismatch is Mismatch.NONE) is right
    assert found.dtype == "float16"


def test_cutting_bits_off_is_not_rounding_once():
    want = torch.linspace(1, 2, 500, dtype=torch.float64)
    cut = (want.float().view(torch.int32) & ~0xFFFF).view(torch.float32).bfloat16()
    found = compare(cut, want, rounded_once=torch.bfloat16)
    assert found.mismatch is Mismatch.ROUNDING
    assert 0.9 < found.error < 1
    assert compare(want.float().bfloat16(), want, rounded_once=torch.bfloat16).error == 0.0


def test_only_a_value_of_the_oracle_in_float64_is_exact():
    with pytest.raises(AuthorError, match="rounded_once"):
        compare(torch.ones(1).half(), torch.ones(1), rounded_once=torch.half)
    found = compare([t(1.0), 3], [t(1.0), 3], rounded_once=torch.half)
    assert found.mismatch is Mismatch.DTYPE
    assert found.difference == "it has dtype float64, not float16"


@pytest.mark.parametrize(
    ("where", "named"),
    [
        ("[1][0, 2]", ("dk", "[0, 2]")),
        ("[0]", ("dq", "")),
        ("[2][1]", ("", "[2][1]")),
        ("['a']", ("", "['a']")),
        ("", ("", "")),
    ],
)
def test_parts_have_names_where_the_author_gives_them(where, named):
    assert name_part(where, ("dq", "dk")) == named


PAIR, THREE = (1, 2), (1, 2, 3)


@pytest.mark.parametrize(
    ("label", "parts", "want", "labels"),
    [
        ("gradients", ("dq", "dk"), PAIR, ("gradients, dq", "gradients, dk")),
        ("dq, dk and dv", (), THREE, ("dq", "dk", "dv")),
        (
            "keys 65, group 4: output and log-sum-exp",
            (),
            PAIR,
            ("keys 65, group 4: output", "keys 65, group 4: log-sum-exp"),
        ),
        ("norm and whether it stepped", (), PAIR, ("norm", "whether it stepped")),
        ("dq, dk and dv", (), PAIR, ()),  # of other tuples nobody knows
        ("keys and values after two chunks", (), PAIR, ()),
        ("rows and rstd", (), [1, 2], ()),  # a list has no names
        ("rows", (), (1,), ()),
        ("dq, dk and dv", (), torch.ones(3), ()),
    ],
)
def test_parts_are_named_by_the_author_or_by_the_label(label, parts, want, labels):
    assert labels_of_parts(label, parts, want) == labels


def test_a_statistic_beyond_its_bound_says_all_three_numbers():
    beyond = Beyond(statistic="largest sum", value=7.25, bound=5.8, count=16384)
    found = compare(torch.ones(2), beyond)
    assert found.mismatch is Mismatch.STATISTIC
    assert found.difference == (
        "the largest sum is 7.25 over 16384 numbers; chance allows at most 5.8"
    )
    assert (found.expected, found.got) == ("at most 5.8", "7.25")


def test_dtypes_are_those_of_all_tensors():
    value = ({"a": [torch.ones(1).half()], "b": torch.ones(1)}, 3, torch.zeros(2).half())
    assert dtypes_of(value) == ("float16", "float32")


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
