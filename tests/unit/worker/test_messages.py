"""What a worker claims: frames become lines of the student's files, failures of a load faults."""

from dataclasses import replace

import pytest

from grader.errors import ChannelError
from grader.evidence.faults import FaultKind, Raised, Stopped, fault_of
from grader.intake.submission import CellLine, Origin, SourceFile, Submission
from grader.runner.loading import MAX_FAILURES
from grader.worker.buffers import ReplyMemory, WorkerMemory
from grader.worker.messages import MAX_TEXT, Messages, load_request, location_of

MODULE = Submission(
    name="ada",
    sha256="",
    origin=Origin.MODULE,
    entry="kv",
    files=(SourceFile(name="kv.py", text="a\n" * 50), SourceFile(name="more.py", text="c\n")),
)
NOTEBOOK = Submission(
    name="bob",
    sha256="",
    origin=Origin.NOTEBOOK,
    entry="kv",
    files=(
        SourceFile(
            name="kv.py",
            text="a\nb\nc",
            cell_lines=(CellLine(cell=3, line=1), CellLine(cell=5, line=7)),
        ),
    ),
)


@pytest.mark.parametrize(
    ("submission", "frames", "place"),
    [
        (MODULE, [["kv.py", 41, "f"]], "kv.py, line 41"),
        (MODULE, [["kv.py", 1, "f"], ["more.py", 2, "g"]], "more.py, line 2"),
        (MODULE, [["kv.py", 1, "f"], ["torch.py", 2, "g"]], "kv.py, line 1"),
        (NOTEBOOK, [["kv.py", 1, "f"]], "cell 3, line 1"),
        (NOTEBOOK, [["kv.py", 2, "f"]], "cell 5, line 7"),
        (NOTEBOOK, [["kv.py", 3, "f"]], "kv.py, line 3"),
        (NOTEBOOK, [["kv.py", 0, "f"]], ""),
        (NOTEBOOK, [["kv.py", 777000012345, "f"]], ""),  # hidden inputs, dressed as a line
        (NOTEBOOK, [["kv.py", 1, "f"], ["kv.py", True, "f"]], "cell 3, line 1"),
        (MODULE, [], ""),
        (MODULE, [["../kv.py", 1, "f"]], ""),
    ],
)
def test_the_innermost_frame_of_the_submission(submission, frames, place):
    assert location_of(submission, frames) == place


@pytest.mark.parametrize(
    "frames",
    [
        None,
        3,
        "kv.py",
        {"kv.py": 1},
        [None],
        [["kv.py"]],
        [["kv.py", "1", "f"]],
        [[["kv.py"], 1, 2]],
    ],
)
def test_broken_claims_give_no_location(frames):
    assert location_of(MODULE, frames) == ""


RAISED = {"names": ["ValueError", "Exception"], "text": "no", "frames": [["kv.py", 2, "<module>"]]}


@pytest.fixture
def messages():
    return Messages(MODULE, None, 0)  # type: ignore[arg-type]  # no tensor comes


def fault_on(messages, reply):
    try:
        return messages.decode(reply)
    except (Raised, Stopped) as error:
        return fault_of(error)


def test_a_name_that_failed_to_load_is_explained_by_the_statement(messages):
    messages.note_load({"failures": [{"names": ["a", "b"], "raised": RAISED}]})
    fault = fault_on(messages, {"missing": "b"})
    assert fault.kind is FaultKind.EXCEPTION
    assert fault.message == "loading the file: ValueError: no; so a, b are not defined"
    assert fault.where == "kv.py, line 2"
    assert fault_on(messages, {"missing": "a"}) == fault
    used = {"names": ["NameError", "Exception"], "text": "name 'a' is not defined", "frames": []}
    assert fault_on(messages, {"raised": used}) == fault
    assert fault_on(messages, {"missing": "c"}).kind is FaultKind.MISSING
    (failure,) = messages.failures
    assert failure.notice.startswith("kv.py, line 2: loading the file: ValueError: no; so a, b")


def test_only_a_load_tells_of_failures(messages):
    claim = {"failures": [{"names": ["a"], "raised": RAISED}], "missing": "a"}
    assert fault_on(messages, claim).kind is FaultKind.MISSING


def test_what_is_not_implemented_yet_is_missing_even_at_load(messages):
    raised = {"names": ["NotImplementedError"], "text": "", "frames": []}
    messages.note_load({"failures": [{"names": ["x"], "raised": raised}]})
    assert fault_on(messages, {"missing": "x"}).kind is FaultKind.MISSING


@pytest.mark.parametrize(
    "failures",
    [
        None,
        3,
        [3],
        [{}],
        [{"names": "a", "raised": RAISED}],
        [{"names": ["a"]}],
        [{"names": ["a"] * 1000, "raised": RAISED}],
        [{"names": ["a"], "raised": RAISED}] * (MAX_FAILURES + 1),
    ],
)
def test_failures_of_unknown_form_are_no_load(messages, failures):
    with pytest.raises(ChannelError):
        messages.note_load({"failures": failures})


def test_what_a_failure_says_is_cut(messages):
    raised = {**RAISED, "text": "x" * 10_000}
    messages.note_load({"failures": [{"names": ["a" * 10_000, 3], "raised": raised}]})
    (failure,) = messages.failures
    assert len(failure.text) < MAX_TEXT + 100
    assert [len(name) for name in failure.names] == [100, 12]


def test_a_load_asks_for_the_statements_of_a_problem_only_if_the_whole_failed():
    needs = replace(MODULE, needs=("f",), allowed_imports=("einops",))
    assert load_request(needs, ())["only"] == ()
    assert load_request(needs, ())["allowed"] == ("einops",)
    assert load_request(replace(needs, sliced=True), ())["only"] == ("f",)


def test_an_exception_keeps_its_frames_in_the_submission_and_no_others():
    messages = Messages(MODULE, WorkerMemory(ReplyMemory(4096)), 4096)
    frames = [["kv.py", 3, "train"], ["/lib/torch.py", 2, "g"], ["more.py", 1, "f" * 900]]
    with pytest.raises(Raised) as caught:
        messages.decode({"raised": {"names": ["KeyError"], "text": "k", "frames": frames}})
    assert caught.value.where == "more.py, line 1"
    first, second = caught.value.stack.splitlines()
    assert first == "kv.py, line 3, in train"
    assert second.startswith("more.py, line 1, in fff")
    assert len(second) < 130
