from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from grader.assignment.folders import find_assignment
from grader.assignment.reading import read_submission
from grader.assignment.table import load_assignment
from grader.intake import Attachment, Submission, SubmissionSource
from grader.student.kit import kit_files
from tests.unit.intake.work import GOOD, write


def test_of_the_files_of_init_the_edited_one_is_loaded(tmp_path: Path) -> None:
    """With `.grader.toml`, and without it: then the assignment's own starters tell."""
    assignment = find_assignment("kv_cache")
    loaded = cast(Any, SimpleNamespace(assignment=load_assignment(assignment), folder=assignment))
    for left_out in ("", ".grader.toml"):
        for edited in ("kv_cache.py", ""):
            folder = tmp_path / f"{edited} {left_out}"
            for name, content in kit_files(assignment, suffixes=(".py", ".ipynb")).items():
                if name != left_out:
                    write(folder / name, content + b"x = 1\n" if name == edited else content)
            source = SubmissionSource(name="a", parts=(Attachment(path=folder),))
            submission = read_submission(source, loaded.assignment, loaded.folder)
            assert isinstance(submission, Submission), submission
            assert submission.graded_file == "kv_cache.py"
            was_edited = "nothing in it was edited" not in " ".join(submission.notices)
            assert was_edited == bool(edited)
    notebook = tmp_path / "module"
    for name, content in kit_files(assignment, suffixes=(".py", ".ipynb")).items():
        if name.endswith(".py"):
            write(notebook / name, content.replace(b"\n", b"\r\n"))
    write(notebook / "kv_cache.ipynb", GOOD)
    rejected = read_submission(
        SubmissionSource(name="a", parts=(Attachment(path=notebook),)),
        loaded.assignment,
        assignment,
    )
    assert "kv_cache.ipynb" in getattr(rejected, "message", "")  # the notebook was chosen
