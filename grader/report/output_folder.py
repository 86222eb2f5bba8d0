"""Writes the output folder of `grade`: pages for students, records and the class index for staff.

A file is either complete or not there. The grades themselves are kept in the record store.

    OUT/grades.csv
    OUT/index.html
    OUT/students/<submission>/   report.html, report.md; feedback.ipynb, feedback.html
    OUT/staff/<submission>/      record.json
"""

import os
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path

from grader.errors import GraderError
from grader.record.grade_record import GradeRecord, to_json
from grader.report.class_index import render_class_index
from grader.report.grades import render_grades
from grader.report.notebook import make_feedback_notebook, render_feedback_html
from grader.report.pages import render_report_html, render_report_markdown
from grader.report.student_view import make_view

STAFF_FOLDER_MODE = 0o700
STAFF_FILE_MODE = 0o600
PUBLIC_FILE_MODE = 0o644
MAX_NAME_BYTES = 200


class ReportError(GraderError):
    """Pages of some submissions could not be made; those of all others were written."""


def write_reports(
    records: Sequence[GradeRecord], out: Path, *, aside: Collection[str] = ()
) -> None:
    """Write the grades, the class index and every submission's files below `out`.

    Names in `aside` are no longer in the class: they have files, and no row.

    Raises:
        ReportError: if two records have the same name (nothing is written), or naming every
            submission whose pages could not be made, after all others were written.
        OSError: if the grades or the class index cannot be written.
    """
    counts = Counter(record.submission.name for record in records)
    if twice := sorted(name for name, count in counts.items() if count > 1):
        raise ReportError(
            f"expected one record per submission, found several for {', '.join(map(repr, twice))}",
            hint="pass only the newest record of each submission",
        )
    out.mkdir(parents=True, exist_ok=True)
    rows = [record for record in records if record.submission.name not in aside]
    _write(out / "grades.csv", render_grades(rows))
    _write(out / "index.html", render_class_index(rows, aside_count=len(records) - len(rows)))
    failures: list[tuple[str, Exception]] = []
    for record in records:
        try:
            write_student(record, out)
        except Exception as error:  # noqa: BLE001 - all other students must get their pages
            failures.append((record.submission.name, error))
    if failures:
        lines = "; ".join(f"{name}: {type(error).__name__}: {error}" for name, error in failures)
        raise ReportError(
            f"pages of {len(failures)} submission(s) could not be made: {lines}",
            hint="all grades are in grades.csv and index.html; when the cause is removed, run "
            "`grader report`",
        ) from failures[0][1]


def write_student(record: GradeRecord, out: Path) -> None:
    """Write the files of one submission below `out`: the record first, the notebook last.

    Raises:
        ReportError: if the submission's name cannot be a folder.
        GraderError: if the record or a page cannot be made.
        OSError: if a file cannot be written.
    """
    name = record.submission.name
    _check_name(name)
    staff = out / "staff"
    staff.mkdir(mode=STAFF_FOLDER_MODE, parents=True, exist_ok=True)
    staff.chmod(STAFF_FOLDER_MODE)
    (staff / name).mkdir(mode=STAFF_FOLDER_MODE, exist_ok=True)
    _write(staff / name / "record.json", to_json(record, indent=2), mode=STAFF_FILE_MODE)
    folder = out / "students" / name
    folder.mkdir(parents=True, exist_ok=True)
    for stale in ("feedback.ipynb", "feedback.html"):  # of a notebook that a module replaces
        (folder / stale).unlink(missing_ok=True)
    view = make_view(record)
    _write(folder / "report.html", render_report_html(view))
    _write(folder / "report.md", render_report_markdown(view))
    if view.notebook_json:
        _write(folder / "feedback.ipynb", make_feedback_notebook(view))
        _write(folder / "feedback.html", render_feedback_html(view))


def _check_name(name: str) -> None:
    """Refuse a name that would write outside of its folder."""
    encoded = name.encode("utf-8", errors="replace")
    unsafe = any(character in "/\\\0" for character in name) or name.startswith(".")
    if not name or unsafe or len(encoded) > MAX_NAME_BYTES:
        raise ReportError(
            f"expected a submission name that can be a folder, found {name[:MAX_NAME_BYTES]!r}",
            hint=f"rename the submission: at most {MAX_NAME_BYTES} bytes, no slash, no leading dot",
        )


def _write(path: Path, text: str, *, mode: int = PUBLIC_FILE_MODE) -> None:
    """Replace `path` by `text` in one step: a reader finds the old file or the new one."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")
    partial.unlink(missing_ok=True)
    try:
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        with os.fdopen(descriptor, "w", encoding="utf-8", newline="\n") as file:
            file.write(text)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
