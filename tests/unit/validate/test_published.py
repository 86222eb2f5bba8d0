"""Stale files of students are named; public cases show every kind of argument of hidden ones."""

import json
import shutil
from collections import defaultdict

import pytest
import torch

from grader.assignment.loaded import load_assignment_with_reference
from grader.assignment.steps import Call, Each, Expect, New, On, Raises, Ref
from grader.validate.published import Cover, Kind, find_stale, kinds_of
from grader.validate.rehearsal import rehearse
from tests.unit.validate.small_assignment import CASES, make_course


def kinds(*args, **kwargs):
    return {(one.argument, one.what) for one in kinds_of(Call("f", *args, **kwargs))}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (torch.ones(2, 3), {"float32"}),
        (torch.ones(2, 3).T, {"float32", "a strided tensor"}),
        (torch.ones(0, 3, dtype=torch.int8), {"int8", "an empty tensor"}),
        (None, {"None"}),
        (2, {"a number or text of type int"}),
        (2.0, {"a number or text of type float"}),
        (True, {"a number or text of type bool"}),
        (torch.float16, {"torch.float16 itself"}),
        (Ref(3), {"an object"}),
        ([], {"an empty list"}),
        ({"a": None, "b": (1,)}, {"None", "a number or text of type int"}),
    ],
)
def test_the_kind_of_an_argument(value, expected):
    assert kinds(value) == {("argument 1", what) for what in expected}
    assert kinds(name=value) == {("`name`", what) for what in expected}


@pytest.mark.parametrize(
    "step",
    [
        New("f", None),
        Call("f", None),
        Call(Ref(0), "f", None),
        Raises(Call("f", None), "ValueError", "none"),
        On(1, Call("f", None)),
        Each(Call("f", None)),
        Raises(Each(New("f", None)), "ValueError", "none"),
    ],
)
def test_every_step_that_passes_arguments_counts(step):
    assert set(kinds_of(step)) == {Kind("f", "argument 1", "None")}


def test_what_is_compared_is_no_argument():
    assert list(kinds_of(Expect(1, None, label="x"))) == []


def cover(tmp_path, cases):
    return rehearse(make_course(tmp_path, cases=cases)).cover.complaints()


def test_public_cases_like_hidden_ones_are_enough(tmp_path):
    assert cover(tmp_path, CASES) == []


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ("x = x.double()", "float64"),
        ("x = torch.ones(4, 2).T", "a strided tensor"),
        ("x = x[:0]", "an empty tensor"),
        ("x = 3", "a number or text of type int"),
    ],
)
def test_a_kind_that_only_hidden_cases_pass_is_told(tmp_path, change, what):
    """The public case is number 0, and there are hidden ones of number 0 and 1."""
    changed = f"if draw.index:\n            {change}\n        got = yield"
    cases = "import torch\n" + CASES.replace("got = yield", changed)
    (said,) = cover(tmp_path, cases)
    assert said.startswith(
        "double.values: hidden cases pass what no public case of the check passes"
    )
    assert f"{what} as argument 1 of double (hidden case 1 under seed s)" in said


def test_many_missing_kinds_are_counted():
    found = Cover(hidden={"p.c": {Kind("f", f"argument {n}", f"kind {n}"): "x" for n in range(9)}})
    (said,) = found.complaints()
    assert "kind 3 as argument 3 of f (x); 5 more." in said


@pytest.mark.parametrize(
    ("wide", "elsewhere", "complaints"),
    [
        ({"p.c"}, Kind("f", "argument 1", "float16"), 0),
        ({"p.c"}, Kind("g", "argument 2", "float16"), 1),
        ({"p.c"}, Kind("f", "argument 2", "bfloat16"), 1),
        (set(), Kind("f", "argument 1", "float16"), 1),
    ],
)
def test_a_check_with_factors_shows_a_kind_anywhere_in_the_call(wide, elsewhere, complaints):
    hidden = {"p.c": {Kind("f", "argument 2", "float16"): "x"}}
    found = Cover(public=defaultdict(set, {"p.narrow": {elsewhere}}), hidden=hidden, wide=wide)
    assert len(found.complaints()) == complaints
    other = defaultdict(set, {"q.narrow": {Kind("f", "argument 2", "float16")}})
    assert len(Cover(public=other, hidden=hidden, wide=wide).complaints()) == 1


@pytest.fixture
def copied(assignment, reference, tmp_path):
    """A copy of the small assignment; gives its two folders."""
    folders = tmp_path / "assignments" / assignment.name, tmp_path / "reference" / assignment.name
    for old, new in zip((assignment, reference), folders, strict=True):
        shutil.copytree(old, new)
    return folders


def stale(folders):
    loaded = load_assignment_with_reference(*folders, device="cpu", seed="s")
    return [said.removeprefix(f"{folders[0]}/") for said in find_stale(loaded)]


def test_a_new_assignment_is_fresh_and_floats_may_round_in_other_ways(copied):
    assert stale(copied) == []
    path = copied[0] / "public" / "log_sum_exp.json"
    tree = json.loads(path.read_text())
    tree["checks"][0]["instances"][0][0]["args"].append(1.0)
    path.write_text(json.dumps(tree))
    (said,) = stale(copied)
    assert said.startswith("public/log_sum_exp.json: not what the cases and the oracle give now")
    tree["checks"][0]["instances"][0][0]["args"].pop()
    path.write_text(json.dumps(tree))  # in one line
    assert stale(copied) == []


def test_everything_stale_is_named_with_its_remedy(copied):
    folder, reference = copied
    (folder / "public" / "Gone.json").write_text("{}")
    (folder / "public" / "RunningLogSumExp.json").unlink()
    (folder / "starter.py").write_text((folder / "starter.py").read_text() + "\n# one more line\n")
    cases = reference / "cases.py"
    cases.write_text(cases.read_text().replace("of large entries", "of huge entries"))
    first, missing, gone, notebook = stale(copied)
    slug = folder.name
    assert "[large_values]" in first
    assert 'label: "log_sum_exp of large entries", now "log_sum_exp of huge entries"' in first
    assert first.endswith(f"`grader release {slug}` makes it again")
    assert missing.startswith("public/RunningLogSumExp.json: not found; `grader release")
    assert gone.startswith("public/Gone.json: no problem of this assignment is called Gone; ")
    assert gone.endswith("deletes it")
    assert notebook.startswith("starter.ipynb: not made from the starter")


def test_what_cannot_be_recorded_is_told(copied):
    cases = copied[1] / "cases.py"
    cases.write_text(cases.read_text().replace("public=1, hidden=4", "public=0, hidden=4"))
    (said,) = stale(copied)
    assert "log_sum_exp.large_values: has no public case; give @case at least public=1" in said


@pytest.mark.parametrize("text", ["", "[]", '{"cells": [{}]}', '{"cells": []}'])
def test_a_damaged_notebook_is_stale(copied, text):
    (copied[0] / "starter.ipynb").write_text(text)
    (said,) = stale(copied)
    assert said.startswith("starter.ipynb: not made from")
