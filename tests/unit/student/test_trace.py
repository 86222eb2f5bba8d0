"""Recorded steps: the same after a trip through the file, and playable."""

import json

import pytest
import torch

from grader.assignment.steps import Call, Drop, Expect, New, OverwriteArguments, Raises, Ref
from grader.correctness.drive import drive
from grader.errors import AuthorError
from grader.evidence.faults import FaultKind
from grader.student.local_worker import LocalWorker
from grader.student.trace import (
    ReplyPart,
    TracedCheck,
    TracedProblem,
    dump_problem,
    load_problem,
    play,
)

FULL = (
    New("Cache", 2, dtype=torch.float16),
    Call(Ref(0), "append", torch.ones(2, 3).T, flag=True),
    OverwriteArguments(),
    Call(Ref(0), "pair"),
    Expect(ReplyPart(step=3, path=(1,)), torch.zeros(2), label="second", exact=True),
    Call("total", ReplyPart(step=3, path=(0,)), [1, (2.5, None)]),
    Expect(ReplyPart(step=5), 4.0, label="total", per_row=True),
    Expect(
        ReplyPart(step=5),
        (torch.zeros(2, dtype=torch.float64),),
        label="rounded",
        rounded_once=torch.float16,
        parts=("dx",),
    ),
    Raises(Call(Ref(0), "append", 1), "ValueError", "a number"),
    Raises(New("Cache", -1), "ValueError", "a negative size"),
    Drop(Ref(0)),
)


def problem_of(*steps):
    check = TracedCheck(name="c", title="t", description="d", instances=(tuple(steps),))
    return TracedProblem(problem="P", checks=(check,))


def saved(tmp_path, text):
    folder = tmp_path / "slug" / "public"
    folder.mkdir(parents=True)
    (folder / "P.json").write_text(text)
    return tmp_path / "slug"


def played(steps, **namespace):
    worker = LocalWorker(namespace, {})
    return drive(play(tuple(steps)), worker, check="c", index=0, public=True)


def test_every_kind_of_step_survives_the_file(tmp_path):
    text = dump_problem(problem_of(*FULL))
    back = load_problem(saved(tmp_path, text), "P")
    assert dump_problem(back) == text
    assert [type(step) for step in back.checks[0].instances[0]] == [type(step) for step in FULL]
    append = back.checks[0].instances[0][1]
    assert isinstance(append, Call)
    assert append.args[0].stride() == (1, 3)
    assert len(text.splitlines()) > len(FULL)  # one step a line: differences can be read


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[]",
        "[" * 100_000,
        "9" * 5000,
        '{"schema_version":2}',
        '{"schema_version":1,"problem":"P","checks":[{}]}',
    ],
)
def test_a_damaged_file_is_named(tmp_path, text):
    folder = saved(tmp_path, text)
    with pytest.raises(AuthorError, match=r"P\.json: damaged"):
        load_problem(folder, "P")


def test_an_unknown_step_is_named(tmp_path):
    tree = json.loads(dump_problem(problem_of(Call("f"))))
    tree["checks"][0]["instances"][0][0]["op"] = "jump"
    with pytest.raises(AuthorError, match="jump"):
        load_problem(saved(tmp_path, json.dumps(tree)), "P")


def test_a_missing_file_says_how_to_make_it(tmp_path):
    with pytest.raises(AuthorError) as caught:
        load_problem(tmp_path, "P")
    assert "grader release" in caught.value.hint


def test_replies_are_passed_on():
    steps = (
        Call("first"),
        Call("second", ReplyPart(step=0, path=("a", 1))),
        Expect(ReplyPart(step=1), 42, label="twice"),
    )
    seen = played(steps, first=lambda: {"a": (0, 21)}, second=lambda x: 2 * x)
    assert not seen.faults
    assert seen.observations[0].comparison.error == 0.0


@pytest.mark.parametrize("reply", [torch.ones(2), [], {"a": 1}, None])
def test_a_part_that_the_reply_lacks_is_the_students_wrong_value(reply):
    steps = (Call("f"), Expect(ReplyPart(step=0, path=(1,)), torch.ones(1), label="second"))
    seen = played(steps, f=lambda: reply)
    assert not seen.faults
    assert seen.observations[0].comparison.error == float("inf")
    assert "nothing at [1]" in seen.observations[0].comparison.got


def test_an_argument_that_the_reply_lacks_ends_the_case_as_a_bad_reply():
    steps = (Call("f"), Call("g", ReplyPart(step=0, path=(0,))))
    seen = played(steps, f=lambda: None, g=lambda x: x)
    assert seen.faults[0].kind is FaultKind.BAD_REPLY
