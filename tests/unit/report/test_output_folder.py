import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from grader.record.grade_record import GradeRecord, from_json
from grader.report.output_folder import ReportError, write_reports, write_student
from grader.report.pages import render_report_html
from grader.report.student_view import StudentView
from tests.unit.report import samples


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_folder_that_grade_leaves(tmp_path: Path) -> None:
    write_reports([samples.make_record("ada"), samples.make_notebook_record("grace")], tmp_path)
    assert _files(tmp_path) == {
        "grades.csv",
        "index.html",
        "students/ada/report.html",
        "students/ada/report.md",
        "students/grace/report.html",
        "students/grace/report.md",
        "students/grace/feedback.ipynb",
        "students/grace/feedback.html",
        "staff/ada/record.json",
        "staff/grace/record.json",
    }


def test_staff_files_are_for_staff(tmp_path: Path) -> None:
    record = samples.make_record("ada")
    write_reports([record], tmp_path)
    assert stat.S_IMODE((tmp_path / "staff").stat().st_mode) == 0o700
    path = tmp_path / "staff" / "ada" / "record.json"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert from_json(GradeRecord, path.read_text(encoding="utf-8")) == record


def test_writing_again_replaces_and_drops_stale_feedback(tmp_path: Path) -> None:
    write_student(samples.make_notebook_record("ada"), tmp_path)
    write_student(samples.make_record("ada"), tmp_path)
    assert _files(tmp_path / "students") == {"ada/report.html", "ada/report.md"}
    assert (
        json.loads((tmp_path / "staff/ada/record.json").read_text())["submission"]["origin"]
        == "module"
    )


def test_one_broken_page_does_not_cost_the_others(tmp_path: Path) -> None:
    broken = samples.make_notebook_record("broken")
    broken = replace(broken, submission=replace(broken.submission, notebook_json="{"))
    with pytest.raises(ReportError, match="broken: NotebookError"):
        write_reports([broken, samples.make_record("ada")], tmp_path)
    assert {"grades.csv", "index.html", "students/ada/report.html"} <= _files(tmp_path)
    assert {"students/broken/report.html", "staff/broken/record.json"} <= _files(tmp_path)


def test_an_unforeseen_failure_names_the_submission(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail_for_ada(view: StudentView) -> str:
        if view.name == "ada":
            raise ZeroDivisionError("of ada")
        return render_report_html(view)

    monkeypatch.setattr("grader.report.output_folder.render_report_html", fail_for_ada)
    with pytest.raises(ReportError, match="ada: ZeroDivisionError: of ada"):
        write_reports([samples.make_record("ada"), samples.make_record("bob")], tmp_path)
    assert "students/bob/report.md" in _files(tmp_path)


@pytest.mark.parametrize(
    "name", ["", ".", "..", "../x", "a/b", "a\\b", "a\0b", ".hidden", "x" * 300]
)
def test_a_name_cannot_lead_out_of_its_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="name"):
        write_student(samples.make_record(name), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_two_records_of_one_name_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ReportError, match="several for 'ada'"):
        write_reports([samples.make_record("ada"), samples.make_record("ada")], tmp_path)
    assert not _files(tmp_path)


def test_a_file_is_whole_or_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_student(samples.make_record("ada"), tmp_path)
    report = tmp_path / "students/ada/report.html"
    before = report.read_text(encoding="utf-8")

    def fail(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="No space left"):
        write_student(samples.make_rejected_record("ada"), tmp_path)
    assert report.read_text(encoding="utf-8") == before
    assert not list(tmp_path.rglob("*.part"))


def test_names_of_any_script(tmp_path: Path) -> None:
    write_reports([samples.make_record("李_小龍 🐉")], tmp_path)
    assert "students/李_小龍 🐉/report.html" in _files(tmp_path)
