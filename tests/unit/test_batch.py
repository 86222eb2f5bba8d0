"""A class is graded to its end, even if the store has unreadable records."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import pytest

from grader import batch
from grader.assignment.loaded import LoadedAssignment
from grader.batch import BatchOptions, grade_class
from grader.errors import SandboxError, StoreError
from grader.intake.submission import Attachment, SubmissionSource
from grader.record.grade_record import GradeRecord
from grader.sandbox.contract import Isolation
from tests.unit.validate.small_assignment import SOLUTION, make_course


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedAssignment:
    return make_course(tmp_path_factory.mktemp("course"))


@pytest.fixture(autouse=True)
def no_sandboxes() -> Iterator[None]:
    """Let every grade be a failure of ours: these tests are about the records."""
    with patch.object(batch, "open_sandboxes", side_effect=SandboxError("no sandbox here")):
        yield


def hand_in(folder: Path, *names: str) -> list[SubmissionSource]:
    for name in names:
        (folder / f"{name}.py").write_text(SOLUTION)
    return [
        SubmissionSource(name=name, parts=(Attachment(path=folder / f"{name}.py"),))
        for name in names
    ]


def grade(
    handed: list[SubmissionSource], loaded: LoadedAssignment, out: Path, *, force: bool
) -> list[GradeRecord]:
    options = BatchOptions(sandbox="none", isolation=Isolation.WARM, jobs=1, image="", force=force)
    return grade_class(handed, loaded, options, out=out, on_outcome=lambda outcome: None)


def spoil(out: Path, name: str) -> None:
    path = out / "staff" / "grades.sqlite"
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("UPDATE records SET body = '{}' WHERE submission = ?", (name,))


@pytest.mark.parametrize("force", [False, True])
def test_an_unreadable_record_does_not_block_the_class(
    tmp_path: Path, loaded: LoadedAssignment, force: bool
) -> None:
    handed, out = hand_in(tmp_path, "ada", "bob"), tmp_path / "out"
    first = grade(handed, loaded, out, force=False)
    spoil(out, "ada")
    again = grade(handed, loaded, out, force=force)
    assert [record.submission.name for record in again] == ["ada", "bob"]
    assert again[0].previous_id == first[0].record_id
    assert (out / "students" / "ada" / "report.html").is_file()


def test_an_unreadable_record_of_another_student_is_reported_at_the_end(
    tmp_path: Path, loaded: LoadedAssignment
) -> None:
    handed, out = hand_in(tmp_path, "ada", "bob"), tmp_path / "out"
    grade(handed, loaded, out, force=False)
    spoil(out, "ada")
    (out / "students" / "bob" / "report.html").unlink()
    with pytest.raises(StoreError, match="ada: record"):
        grade(handed[1:], loaded, out, force=True)
    assert (out / "students" / "bob" / "report.html").is_file()
