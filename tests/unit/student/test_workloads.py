"""Published workloads: the same calls again, with numbers drawn anew where they do not matter."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from grader.assignment.steps import (
    Call,
    Drop,
    Each,
    New,
    On,
    PhaseEnd,
    PhaseStart,
    ReclaimArguments,
    Ref,
    World,
)
from grader.assignment.target import Quantity
from grader.errors import AuthorError
from grader.student.trace import ReplyPart
from grader.student.workloads import (
    PERFORMANCE_FILE,
    PublishedRun,
    PublishedTarget,
    dump_targets,
    load_targets,
    publish,
    recorded_steps,
)


def again(*steps, replies=()):
    """The steps of a workload after it was published, each sent one of the replies."""
    run = PublishedRun(size=1, steps=tuple((1, publish(step)) for step in steps))
    played = recorded_steps(run)
    found = [played.send(None)]
    for _, reply in zip(steps[1:], [*replies, *[None] * len(steps)], strict=False):
        found.append(played.send(reply))
    return found


def argument(value: Any) -> Any:
    (call,) = again(Call("f", value))
    assert isinstance(call, Call)
    return call.args[0]


FLOATS = st.sampled_from([torch.float32, torch.float16, torch.bfloat16, torch.float64])
SHAPES = st.lists(st.integers(0, 5), max_size=4)


@given(FLOATS, SHAPES, st.randoms(use_true_random=False))
def test_floats_keep_dtype_shape_and_strides(dtype, shape, random):
    order = random.sample(range(len(shape)), len(shape))
    tensor = torch.randn(shape).to(dtype).permute(order)
    got = argument(tensor)
    assert (got.dtype, got.shape) == (tensor.dtype, tensor.shape)
    if tensor.numel():
        assert got.stride() == tensor.stride() or tensor.is_contiguous()
    assert bool(got.isfinite().all())


def test_probabilities_stay_between_0_and_1():
    got = argument(torch.rand(1000))
    assert 0 <= float(got.min()) <= float(got.max()) <= 1
    assert float(argument(torch.randn(1000)).min()) < 0


@given(st.lists(st.integers(-(2**40), 2**40), max_size=64))
def test_few_whole_numbers_stay_as_they_are(values):
    assert argument(values) == values
    assert argument(torch.tensor(values, dtype=torch.int64)).tolist() == values


def test_a_permutation_stays_one_and_other_names_stay():
    numbers = list(range(500))
    for value in (numbers[::-1], torch.tensor(numbers[::-1]).view(5, 100)):
        got = torch.as_tensor(argument(value))
        assert sorted(got.reshape(-1).tolist()) == numbers
        assert got.shape == torch.as_tensor(value).shape
    blocks = list(range(7, 307))
    assert argument(blocks) == blocks


def test_long_tokens_are_drawn_anew_the_same_for_the_same():
    tokens = [n * n % 97 for n in range(1000)]
    first, second = again(Call("f", tokens), Call("f", list(tokens), other=[tokens[::-1]]))
    assert isinstance(first, Call)
    assert isinstance(second, Call)
    assert first.args == second.args
    assert first.args[0] != tokens
    assert len(first.args[0]) == 1000
    assert {*first.args[0]} <= {*range(97)}
    assert second.kwargs["other"][0] != first.args[0]
    mask = argument(torch.arange(1000) % 3 == 0)
    assert mask.dtype is torch.bool


def test_every_kind_of_step_comes_back():
    ref = Ref(0)
    steps = (
        World(2),
        Each(New("harness:Tower", seed=1), New("harness:Tower", seed=2)),
        PhaseStart(),
        On(1, Call(ref, "step", 0.5, None, True)),
        ReclaimArguments(),
        PhaseEnd(),
        Drop(ref),
    )
    assert again(*steps) == [*steps]


def test_a_reply_can_be_an_argument():
    steps = (Call("prepare"), Call("use", ReplyPart(step=0)))
    assert again(*steps, replies=["prepared"])[1] == Call("use", "prepared")


def test_a_file_is_read_as_it_was_written(tmp_path):
    target = PublishedTarget(
        problem="f",
        target="growth",
        quantity=Quantity.GROWTH,
        ranks=0,
        description="Twice.",
        runs=(PublishedRun(size=8, steps=((3, publish(Call("f", torch.ones(2)))),)),),
    )
    assert load_targets(tmp_path) == ()
    path = tmp_path / "public" / PERFORMANCE_FILE
    path.parent.mkdir()
    path.write_text(dump_targets((target,)))
    assert load_targets(tmp_path) == (target,)
    assert len(list(recorded_steps(target.runs[0]))) == 3
    for damage in ("", "[[", '[{"problem": 1}]', "[" * 100_000):
        path.write_text(damage)
        with pytest.raises(AuthorError, match="damaged"):
            load_targets(tmp_path)
