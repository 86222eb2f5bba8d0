"""Public cases: recorded from the oracle, traced to replies, the same bytes every time."""

import json
import math
import shutil
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.steps import Call, Expect
from grader.errors import AuthorError
from grader.release.record_public import difference, record_public, write_public
from grader.student.trace import ReplyPart, load_problem, play, to_json

KV_CACHE = "kv_cache"

CASES = '''
"""Cases under test."""
import torch
from grader.author import Call, Draw, Expect, case

SEEN = []

def one_number():
    got = yield Call("log_sum_exp", torch.ones(1))
    yield Expect(got["n"], 1, label="numbers")

@case("log_sum_exp", "values")
def values(draw):
    """What the
    case does."""
    {body}

@case("log_sum_exp", "large_values", public={public})
def large_values(draw):
    yield from one_number()

@case("log_sum_exp", "refuses_empty_rows")
def refuses(draw):
    yield from one_number()

@case("RunningLogSumExp", "chunks")
def chunks(draw):
    yield from one_number()

@case("RunningLogSumExp", "keeps_no_view")
def keeps(draw):
    yield from one_number()
'''

SOLUTION = """
import torch
def log_sum_exp(x):
    return {"pair": (x, [2 * x]), "n": x.numel(), "none": None}
def identity(x):
    return x
"""


@pytest.fixture
def record(assignment, tmp_path):
    """Record a body as the case of `log_sum_exp.values`; return its steps."""

    def run(body, public=1):
        reference = tmp_path / "reference"
        reference.mkdir()
        (reference / "cases.py").write_text(CASES.format(body=body, public=public))
        (reference / "solution.py").write_text(SOLUTION)
        mine = tmp_path / assignment.name
        shutil.copytree(assignment, mine)
        write_public(mine, record_public(mine, reference))
        return load_problem(mine, "log_sum_exp").checks[0]

    return run


def test_an_element_of_a_reply_is_traced_by_identity(record):
    body = """x = torch.ones(2)
    got = yield Call("log_sum_exp", x)
    yield Expect(got["pair"][1][0], lambda: 2 * x, label="twice")
    yield Expect(got["none"], None, label="nothing")"""
    check = record(body)
    _, twice, nothing = check.instances[0]
    assert isinstance(twice, Expect)
    assert twice.got == ReplyPart(step=0, path=("pair", 1, 0))
    assert isinstance(twice.want, torch.Tensor)
    assert torch.equal(twice.want, torch.full((2,), 2.0))
    assert isinstance(nothing, Expect)
    assert nothing.got == ReplyPart(step=0, path=("none",))
    assert check.description == "What the case does."


def test_the_latest_reply_wins_and_replies_become_arguments(record):
    body = """first = yield Call("log_sum_exp", torch.ones(2))
    again = yield Call("identity", first["pair"][0])
    yield Expect(again, torch.ones(2), label="same")
    number = yield Call("identity", 2)
    yield Expect(number, 2, label="number")"""
    steps = record(body).instances[0]
    assert isinstance(steps[1], Call)
    assert steps[1].args == (ReplyPart(step=0, path=("pair", 0)),)
    assert [step.got.step for step in steps if isinstance(step, Expect)] == [1, 3]


def test_a_reply_that_another_must_equal_is_no_number_of_the_authors_machine(record):
    """Such as every rank beside rank 0, bit for bit: other machines round in other ways."""
    body = """first = yield Call("log_sum_exp", torch.ones(2))
    again = yield Call("log_sum_exp", torch.ones(2))
    yield Expect(again["pair"], (first["pair"][0], [2 * torch.ones(2)]), label="same")"""
    *calls, expect = record(body).instances[0]
    assert isinstance(expect, Expect)
    want: Any = expect.want
    assert want[0] == ReplyPart(step=0, path=("pair", 0))
    assert torch.equal(want[1][0], torch.full((2,), 2.0))
    played = play((*calls, expect))
    next(played)
    played.send({"pair": (torch.full((2,), 3.0), [])})
    asked = played.send({"pair": (torch.full((2,), 4.0), [])})
    assert isinstance(asked, Expect)
    want = asked.want
    assert torch.equal(want[0], torch.full((2,), 3.0))
    assert torch.equal(asked.got[0], torch.full((2,), 4.0))


def test_a_reply_that_is_right_in_itself_is_recorded_in_numbers(record):
    """A student's reply equals itself, whatever it is: that would compare nothing."""
    body = """got = yield Call("identity", torch.ones(2))
    yield Expect(got, lambda: got if got.sum() == 2 else torch.ones(2), label="a sum of 2")"""
    _, expect = record(body).instances[0]
    assert isinstance(expect, Expect)
    assert isinstance(expect.want, torch.Tensor)


def test_a_case_that_compares_nothing_is_not_published(record):
    with pytest.raises(AuthorError, match=r"log_sum_exp\.values.*compared nothing"):
        record('yield Call("identity", 2)')


def test_a_derived_value_names_its_check(record):
    body = """got = yield Call("identity", torch.ones(2))
    yield Expect(got + 1, torch.ones(2) * 2, label="plus one")"""
    with pytest.raises(AuthorError, match=r"demo_assignment: log_sum_exp\.values.*not a reply"):
        record(body)


def test_a_solution_that_fails_its_own_case_is_named(record):
    body = """got = yield Call("identity", torch.ones(2))
    yield Expect(got, torch.zeros(2), label="zeros")"""
    with pytest.raises(
        AuthorError, match=r"log_sum_exp\.values: the reference solution fails.*zeros"
    ):
        record(body)


def test_a_case_that_raises_is_named_with_its_line(record):
    body = """got = yield Call("identity", 2)
    yield Expect(got, lambda: torch.no_such(2), label="two")"""
    said = (
        r"values, public case 0: the case or its oracle raises AttributeError: .*; cases\.py, line"
    )
    with pytest.raises(AuthorError, match=said) as caught:
        record(body)
    assert "`yield Expect(got, lambda: torch.no_such(2)" in str(caught.value)


@pytest.mark.parametrize(
    "made", ["torch.randn(2)", "torch.tensor(len(SEEN))", "torch.ones(len(SEEN))"]
)
def test_a_case_that_differs_when_played_again_is_not_published(record, made):
    body = f"""SEEN.append(1)
    got = yield Call("identity", {made})
    yield Expect(got, got, label="itself")"""
    with pytest.raises(AuthorError, match=r"values: public case 0 differs when it is played") as c:
        record(body)
    assert "from `draw`" in c.value.hint


def test_inputs_are_kept_as_they_were_when_passed(record):
    body = """x = torch.zeros(4, 2).T
    got = yield Call("identity", x)
    x.fill_(9)
    yield Expect(got, torch.zeros(2, 4), label="zeros")"""
    call = record(body).instances[0][0]
    assert isinstance(call, Call)
    assert torch.equal(call.args[0], torch.zeros(2, 4))
    assert call.args[0].stride() == (1, 2)


def test_a_check_without_a_public_case_is_named(record):
    with pytest.raises(AuthorError, match=r"large_values: has no public case"):
        record('yield Expect((yield Call("identity", 2)), 2, label="same")', public=0)


def test_recording_again_changes_nothing(assignment, reference):
    files = record_public(assignment, reference)
    assert files == record_public(assignment, reference)
    assert write_public(assignment, files) == ()


def test_a_recording_that_differs_by_rounding_alone_stays(tmp_path):
    for text, is_written in (("1.0", True), ("1.0000000001", False), ("1.1", True), ("[1.1", True)):
        changed = write_public(tmp_path, {"P.json": text})
        assert [path.name for path in changed] == ["P.json"] * is_written
    assert (tmp_path / "public" / "P.json").read_text() == "[1.1"


def test_a_recording_of_a_problem_that_is_gone_is_removed(assignment, reference, tmp_path):
    mine = tmp_path / assignment.name
    shutil.copytree(assignment, mine)
    (mine / "public" / "Gone.json").write_text("{}")
    changed = write_public(mine, record_public(assignment, reference))
    assert [path.name for path in changed] == ["Gone.json"]
    assert not (mine / "public" / "Gone.json").exists()


def test_the_committed_public_cases_are_those_of_the_reference():
    """Expected values may differ in their last bits on another CPU; everything else may not."""
    folder = find_assignment(KV_CACHE)
    recorded = record_public(folder, find_reference(KV_CACHE))
    committed = {path.name: path.read_text() for path in (folder / "public").glob("*.json")}
    assert recorded.keys() == committed.keys()
    for name, text in recorded.items():
        assert difference(json.loads(committed[name]), json.loads(text)) == "", name


TENSORS = st.builds(
    lambda dtype, numbers: torch.tensor(numbers).to(dtype),
    st.sampled_from((torch.float32, torch.float16, torch.bfloat16, torch.int64)),
    st.lists(st.integers(1, 100), min_size=1, max_size=4),
)
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
PLAIN_LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5))


def nested(leaves):
    return st.recursive(leaves, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner))


PLAIN = nested(PLAIN_LEAVES)
VALUES = nested(st.one_of(PLAIN_LEAVES, st.floats(), TENSORS))


@SLOW
@given(VALUES)
def test_a_value_does_not_differ_from_itself(value):
    tree = to_json(value)
    assert difference(tree, json.loads(json.dumps(tree))) == ""


@SLOW
@given(PLAIN, PLAIN)
def test_other_values_differ(one, other):
    first, second = to_json(one), to_json(other)
    assert (difference(first, second) == "") == (json.dumps(first) == json.dumps(second))


@SLOW
@given(TENSORS, st.sampled_from((-1, 1)))
def test_tensors_differ_by_more_than_rounding(tensor, sign):
    tree = to_json(tensor)
    whole = not tensor.dtype.is_floating_point
    changed = tensor + sign if whole else tensor * (1 + sign * 0.05)
    assert difference(tree, to_json(changed)) != ""
    rounded = tensor if whole else tensor * (1 + sign * 2e-6)
    assert difference(tree, to_json(rounded)) == ""
    assert difference(tree, to_json(tensor.double())) != ""
    assert difference(tree, to_json(torch.cat([tensor, tensor]))) != ""


def test_strides_and_nan_are_compared():
    square = torch.arange(4.0).reshape(2, 2)
    assert "with strides" in difference(to_json(square), to_json(square.T.contiguous().T))
    missing = torch.tensor([1.0, math.nan])
    assert difference(to_json(missing), to_json(missing.clone())) == ""
    assert difference(to_json(missing), to_json(torch.ones(2))) != ""
    assert difference(math.nan, math.nan) == ""
    assert difference(1.0, math.nan) == ": 1.0, now NaN"
