"""Random inputs: the same for a whole class, whatever ran before."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.draw import Draw

PATH = ("kv_cache", "KVCache", "append")
names = st.text(st.characters(codec="utf-8", exclude_characters="\x1f"), max_size=6)
seeds = st.text(alphabet="0123456789abcdef", max_size=8)


def sample(draw):
    return [draw.integer(0, 2**40) for _ in range(4)]


@given(seeds, names, st.integers(0, 50))
def test_a_stream_depends_on_its_key_alone(seed, check, index):
    other = Draw(seed, ("another",), 7)
    first = sample(Draw(seed, (*PATH, check), index))
    sample(other)
    torch.rand(3)
    assert sample(Draw(seed, (*PATH, check), index)) == first


def test_streams_do_not_disturb_each_other():
    alone = [sample(Draw("s", PATH, index)) for index in range(3)]
    draws = [Draw("s", PATH, index) for index in range(3)]
    mixed: list[list[int]] = [[], [], []]
    for _, place in itertools.product(range(4), (2, 0, 1)):
        mixed[place].append(draws[place].integer(0, 2**40))
    assert mixed == alone


def test_seed_path_and_index_each_make_another_stream():
    keys = [
        ("s", PATH, 0),
        ("t", PATH, 0),
        ("s", PATH, 1),
        ("s", (*PATH[:2], "truncate"), 0),
        ("s", PATH[:2], 0),
        ("s", (PATH[0], PATH[1] + PATH[2]), 0),
        ("s", PATH, 10),
        ("s", (*PATH, "1"), 0),
    ]
    streams = [tuple(sample(Draw(*key))) for key in keys]
    assert len(set(streams)) == len(keys)


def test_a_draw_knows_its_index():
    assert [Draw("s", PATH, index).index for index in range(3)] == [0, 1, 2]


@given(st.integers(-100, 100), st.integers(0, 100), st.integers(0, 5))
def test_integers_are_in_their_range(low, width, index):
    draw = Draw("s", PATH, index)
    values = [draw.integer(low, low + width) for _ in range(20)]
    assert all(low <= value <= low + width for value in values)
    assert all(type(value) is int for value in values)


def test_both_ends_are_reached():
    draw = Draw("s", PATH, 0)
    assert {draw.integer(3, 5) for _ in range(100)} == {3, 4, 5}
    tensor = draw.integer_tensor(200, low=-1, high=1)
    assert (tensor.dtype, set(tensor.tolist())) == (torch.int64, {-1, 0, 1})


@given(st.lists(st.integers(), min_size=1, max_size=20), st.integers(0, 5))
def test_choices_and_shuffles_come_from_the_options(options, index):
    draw = Draw("s", PATH, index)
    assert draw.choice(options) in options
    before = list(options)
    assert sorted(draw.shuffled(options)) == sorted(options)
    assert options == before


@given(st.data())
def test_a_split_adds_up(data):
    total = data.draw(st.integers(1, 60))
    parts = data.draw(st.integers(1, total))
    pieces = Draw("s", PATH, data.draw(st.integers(0, 9))).split(total, parts)
    assert len(pieces) == parts
    assert sum(pieces) == total
    assert min(pieces) >= 1


@pytest.mark.parametrize(("total", "parts"), [(0, 1), (3, 4), (3, 0), (3, -1), (-2, 1)])
def test_an_impossible_split_is_an_error(total, parts):
    with pytest.raises(ValueError, match="cannot split"):
        Draw("s", PATH, 0).split(total, parts)


@pytest.mark.parametrize("shape", [(), (0,), (3, 4)])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_tensors_have_the_shape_and_dtype_asked_for(shape, dtype):
    draw = Draw("s", PATH, 0)
    normal = draw.normal_tensor(*shape, dtype=dtype)
    uniform = draw.uniform_tensor(*shape, dtype=dtype)
    whole = draw.integer_tensor(*shape, low=0, high=3)
    assert {tuple(tensor.shape) for tensor in (normal, uniform, whole)} == {shape}
    assert (normal.dtype, uniform.dtype, whole.dtype) == (dtype, dtype, torch.int64)


def test_distributions_have_their_mean_and_range():
    draw = Draw("s", PATH, 0)
    normal = draw.normal_tensor(20_000, dtype=torch.float64, scale=3.0)
    assert abs(float(normal.mean())) < 0.1
    assert abs(float(normal.std()) - 3.0) < 0.1
    uniform = draw.uniform_tensor(20_000, dtype=torch.float64, low=-2.0, high=6.0)
    assert float(uniform.min()) >= -2.0
    assert float(uniform.max()) < 6.0
    assert abs(float(uniform.mean()) - 2.0) < 0.1
    assert all(0.0 <= draw.uniform() < 1.0 for _ in range(100))


def test_the_stream_of_a_seed_never_changes():
    """A changed generator would change every public case and every stored grade."""
    assert Draw("public", ("kv_cache", "KVCache", "append"), 0).integer(0, 10**9) == FIRST


FIRST = 748150130
