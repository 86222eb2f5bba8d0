"""What a record keeps of a submission is enough to grade it again."""

from dataclasses import fields
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from grader.intake import Rejected, Submission, SubmissionSource, load_submission
from grader.intake.submission import Attachment
from grader.record import grade_record as make_module
from grader.record.grade_record import GradeRecord, SubmissionFacts, from_json, make_record, to_json
from grader.report.student_view import make_view
from tests.unit.report.sample_plan import make_plan
from tests.unit.report.samples import make_judgement, make_measurement, make_notebook

MODULES = {
    "kv_cache.py": "from layout import strides\nfrom maths import ünit\n\nclass KVCache: ...\n",
    "layout.py": "strides = (1, 2)\n\n# ein Ende ohne Zeilenumbruch",
    "maths.py": "ünit = '\\N{DOUBLE-STRUCK CAPITAL R}'\n\n\n",
}


def hand_in(folder: Path, files: dict[str, str]) -> SubmissionSource:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_bytes(text.encode())
    return SubmissionSource(name="ada", parts=(Attachment(path=folder),))


def recorded(submission: Submission | Rejected) -> GradeRecord:
    """Return a record as it comes back from the store."""
    record = make_record(submission, make_plan(), make_measurement(), make_judgement())
    return from_json(GradeRecord, to_json(record))


def as_submission(facts: SubmissionFacts) -> Submission:
    return Submission(**{field.name: getattr(facts, field.name) for field in fields(facts)})


def test_a_submission_of_three_modules_comes_back_whole(tmp_path: Path) -> None:
    submission = load_submission(hand_in(tmp_path / "work", MODULES), slug="kv_cache")
    assert isinstance(submission, Submission)
    restored = as_submission(recorded(submission).submission)
    assert restored == submission

    again = hand_in(tmp_path / "again", {file.name: file.text for file in restored.files})
    for name, text in MODULES.items():
        assert (tmp_path / "again" / name).read_bytes() == text.encode()
    assert load_submission(again, slug="kv_cache") == submission  # its sha256 as well


def test_a_notebook_keeps_the_cell_of_each_line(tmp_path: Path) -> None:
    submission = load_submission(
        hand_in(tmp_path / "work", {"work.ipynb": make_notebook()}), slug="kv_cache"
    )
    assert isinstance(submission, Submission)
    record = recorded(submission)
    assert as_submission(record.submission) == submission
    cells = {problem.tally.name: problem.cells for problem in make_view(record).problems}
    assert cells["KVCache"] == (2,)


def test_of_a_rejected_submission_there_is_nothing_to_grade() -> None:
    facts = recorded(Rejected(name="zuse", sha256="", message="not text")).submission
    assert (facts.name, facts.entry, facts.files) == ("zuse", "", ())


def test_the_environment_is_that_of_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    submission = Submission.of_text("ada", "x = 1")
    parts = (submission, make_plan(), make_measurement(), make_judgement())
    found = make_record(*parts, driver="580.65.06", image_id="sha256:1").environment
    assert (found.driver, found.image_id) == ("580.65.06", "sha256:1")
    assert make_record(*parts).environment.image_id == ""

    def version(package: str) -> str:
        if package == "triton":
            raise PackageNotFoundError(package)
        return "1.2"

    monkeypatch.setattr(make_module, "version", version)
    found = make_record(*parts).environment
    assert (found.torch, found.triton, found.driver) == ("1.2", "", "")
