"""The code of recorded cases: names, replies, ranks, and what is too large to be written."""

import ast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.assignment.case_code import attribute_names, write_case_code
from grader.assignment.steps import (
    Call,
    Drop,
    Each,
    Expect,
    New,
    On,
    OverwriteArguments,
    Raises,
    Ref,
    World,
)
from grader.student.trace import ReplyPart, step_to_json

LARGE = torch.zeros(3, 9).t()


def code(*steps, module="", attributes=()):
    trees = [step_to_json(step) for step in steps]
    text = write_case_code(trees, 'case("P.c", 0)', frozenset(attributes), module=module)
    ast.parse(text)
    return text


def body(*steps, **options):
    return code(*steps, **options).split('c = case("P.c", 0)\n')[1].strip().splitlines()


def test_a_case_reads_as_one_would_write_it():
    assert code(
        New("KVCache", 2, dtype=torch.float16),
        Call(Ref(0), "append", torch.tensor([1.5]), LARGE),
        Call(Ref(0), "length"),
        Expect(ReplyPart(step=2), 1, label="length"),
        Raises(Call("harness:fill", Ref(0), n=-1), "ValueError", "a negative n"),
        module="kv_cache",
        attributes={"length"},
    ) == (
        "import torch\n"
        "from grader.student import case\n\n"
        'c = case("P.c", 0)\n'
        "from harness import fill\n"
        "from kv_cache import KVCache\n\n"
        "cache = KVCache(2, dtype=torch.float16)\n"
        "cache.append(torch.tensor([1.5]), c.arguments[1][1])  # float32 [9, 3], strides (1, 9)\n"
        "c.compare(0, cache.length)  # length: 1\n"
        "with c.raises(ValueError):  # a negative n\n"
        "    fill(cache, n=-1)\n"
    )


def test_a_reply_that_is_used_later_is_copied():
    assert body(
        Call("f"),
        Call("g", [ReplyPart(step=0, path=("m", 1))]),
        Expect(ReplyPart(step=0, path=(0,)), ReplyPart(step=1), label="same"),
    ) == [
        "reply_1 = c.copy(f())",
        "reply_2 = g([reply_1['m'][1]])",
        "c.compare(0, reply_1[0], reply_2)  # same: equal to the other",
    ]


def test_what_is_overwritten_is_the_cases_own():
    assert body(Call("f", torch.tensor([1])), OverwriteArguments()) == [
        "f(c.arguments[0][0])  # int64 [1]: 1",
        "c.overwrite(0)  # the buffers of that call",
    ]


def test_ranks_run_one_program():
    assert body(
        World(2),
        Each(New("DDP", 4)),
        Each(Call(Ref(0), "run", torch.tensor([1])), Call(Ref(0), "run", torch.tensor([2]))),
        Expect(ReplyPart(step=2, path=(1,)), 7, label="on rank 1"),
        On(1, Call(Ref(0), "stop")),
        On(0, Call(Ref(0), "size")),
        Expect(ReplyPart(step=5), 4, label="on rank 0"),
        Drop(Ref(0)),
    ) == [
        "def program(rank):",
        "    ddp = DDP(4)",
        "    reply_1 = c.copy(ddp.run([torch.tensor([1]), torch.tensor([2])][rank]))",
        "    if rank == 1: ddp.stop()",
        "    reply_2 = ddp.size() if rank == 0 else None",
        "    del ddp",
        "    return [reply_1, reply_2]",
        "",
        "",
        "[reply_1, reply_2] = c.on_ranks(program, 2)",
        "c.compare(0, reply_1[1])  # on rank 1: 7",
        "c.compare(1, reply_2[0])  # on rank 0: 4",
    ]


def test_the_first_steps_alone_are_code_too():
    steps = [
        World(2),
        Each(Call("f")),
        Expect(ReplyPart(step=1), [1, 1], label="f"),
        Raises(Each(Call("g")), "ValueError", "g"),
    ]
    for count in range(1, len(steps) + 1):
        assert body(*steps[:count])


def test_large_lists_are_pointers():
    (line,) = body(Call("train", [[torch.zeros(40)] * 9] * 9))
    assert line == "train(c.arguments[0][0])  # list of 9: list of 9: float32 [40], …, …"


@pytest.mark.parametrize(
    ("name", "variable"),
    [("GradScaler", "scaler"), ("DDP", "ddp"), ("MasterAdamW", "adam"), ("Case", "case_2")],
)
def test_objects_are_named_after_their_class(name, variable):
    assert body(New(name)) == [f"{variable} = {name}()"]


def test_attributes_are_those_that_are_not_called():
    source = (
        "class A:\n"
        "    size: int\n"
        "    def __init__(self): self.left = 1; self.go = 2\n"
        "    @property\n"
        "    def length(self): return 1\n"
        "    def go(self): return 2\n"
    )
    assert attribute_names([source]) == {"size", "left", "length"}


VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=9)
    | st.sampled_from([torch.float16, LARGE, torch.tensor([1.0, torch.nan])]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4)
    ),
    max_leaves=20,
)


def same(one, other):
    if isinstance(one, torch.Tensor):
        return one.stride() == other.stride() and torch.equal(one.nan_to_num(), other.nan_to_num())
    if isinstance(one, list | tuple):
        return type(one) is type(other) and all(map(same, one, other)) and len(one) == len(other)
    if isinstance(one, dict):
        return list(one) == list(other) and all(same(one[key], other[key]) for key in one)
    return type(one) is type(other) and repr(one) == repr(other)


@settings(deadline=None)
@given(
    st.lists(VALUES, max_size=3),
    st.dictionaries(st.sampled_from(("a", "p", "r", "t", "op", "step")), VALUES),
)
def test_the_code_passes_on_just_the_recorded_arguments(args, kwargs):
    text = code(Call("f", *args, **kwargs))
    got = []

    class Recorded:
        arguments = ({**dict(enumerate(args)), **kwargs},)

    lines = text.split('c = case("P.c", 0)\n')[1]
    exec(lines, {"torch": torch, "c": Recorded, "f": lambda *a, **k: got.append((a, k))})
    assert same(got[0][0], tuple(args))
    assert same(got[0][1], kwargs)
