"""A class is graded to its end, even if the store has unreadable records."""

import contextlib
import csv
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import pytest

from grader import batch
from grader.assignment.loaded import LoadedAssignment
from grader.batch import BatchOptions, grade_class
from grader.correctness.run import measurement_of_failure
from grader.errors import SandboxError, StoreError
from grader.intake import Rejected, Submission, collect
from grader.intake.submission import Attachment, SubmissionSource
from grader.judge.judge import reject
from grader.record.grade_record import GradeRecord, make_record
from grader.record.store import RecordStore
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
    handed: Sequence[SubmissionSource],
    loaded: LoadedAssignment,
    out: Path,
    *,
    force: bool = False,
    only: frozenset[str] = frozenset(),
) -> list[GradeRecord]:
    options = BatchOptions(
        sandbox="none", isolation=Isolation.WARM, jobs=1, image="", force=force, only=only
    )
    return grade_class(
        handed,
        loaded,
        options,
        out=out,
        paths=[out.parent],
        on_outcome=lambda outcome: None,
    )


def rows(out: Path) -> dict[str, str]:
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        return {row["submission"]: row["status"] for row in csv.DictReader(file)}


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


def test_who_left_the_class_has_no_row_and_keeps_records_and_pages(
    tmp_path: Path, loaded: LoadedAssignment
) -> None:
    (tmp_path / "class").mkdir()
    hand_in(tmp_path / "class", "Muller", "Müller")
    handed, out = collect([tmp_path / "class"], "tiny"), tmp_path / "out"
    first = grade(handed, loaded, out)
    assert rows(out) == {"Muller": "ungraded", "Muller-2": "ungraded"}
    (tmp_path / "class" / "Muller.py").unlink()
    again = grade(collect([tmp_path / "class"], "tiny"), loaded, out)
    assert [record.previous_id for record in again] == [first[1].record_id]
    assert rows(out) == {"Muller-2": "ungraded"}
    assert "1 more is kept aside" in (out / "index.html").read_text()
    assert (out / "students" / "Muller" / "report.html").is_file()
    (back, _) = grade(handed, loaded, out)
    assert back.previous_id == first[0].record_id
    assert rows(out) == {"Muller": "ungraded", "Muller-2": "ungraded"}


def test_only_some_of_a_class_are_graded_and_the_rest_stay(
    tmp_path: Path, loaded: LoadedAssignment
) -> None:
    handed, out = hand_in(tmp_path, "ada", "bob"), tmp_path / "out"
    grade(handed, loaded, out)
    (again,) = grade(handed, loaded, out, only=frozenset({"bob"}), force=True)
    assert again.submission.name == "bob"
    assert again.previous_id
    assert rows(out) == {"ada": "ungraded", "bob": "ungraded"}


def test_a_rejection_is_kept_only_while_it_is_still_said_in_the_same_words(
    tmp_path: Path, loaded: LoadedAssignment
) -> None:
    """A newer grader may be able to read what an older one rejected, under the same hash."""
    rejected = Rejected(name="ada", sha256="a", message="expected a module")
    measured = measurement_of_failure(loaded, OSError(), sandbox="none", isolation="warm")
    judgement = reject(loaded.plan, rejected.text)
    record = make_record(rejected, loaded.plan, measured, judgement)
    with contextlib.closing(RecordStore.in_folder(tmp_path)) as store:
        store.commit(record)
        one = batch._Batch(
            loaded=loaded,
            options=BatchOptions(
                sandbox="none", isolation=Isolation.WARM, jobs=1, image="", force=False
            ),
            store=store,
            out=tmp_path,
            on_outcome=lambda outcome: None,
        )
        assert one._graded_before(rejected) == record
        assert one._graded_before(replace(rejected, message="found no module")) is None
        assert one._graded_before(replace(Submission.of_text("ada", "x"), sha256="a")) is None
