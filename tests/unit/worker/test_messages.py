"""Frames that a worker claims become lines of the student's files, or nothing."""

import pytest

from grader.intake.submission import CellLine, Origin, SourceFile, Submission
from grader.worker.messages import location_of

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
