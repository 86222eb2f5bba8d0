"""`make demo`: every submission of the sample class gets what it must, and the files are there."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from examples.sample_class.__main__ import as_expected, leading_cause
from examples.sample_class.submissions import ALL_POINTS, UNMETERED_POINTS, make_class
from grader.assignment.folders import find_assignment, find_reference
from grader.record.grade_record import GradeRecord, from_json

ROOT = Path(__file__).resolve().parents[2]


def run_demo(folder: Path, path: str, *only: str) -> subprocess.CompletedProcess[str]:
    for name in ("assignments", "reference"):
        (folder / name).symlink_to(ROOT / name)
    return subprocess.run(
        [sys.executable, "-m", "examples.sample_class", *only],
        cwd=folder,
        env={**os.environ, "PATH": path, "COLUMNS": "140"},
        capture_output=True,
        text=True,
        timeout=480,
        check=False,
    )


def check_demo(
    folder: Path, ran: subprocess.CompletedProcess[str], *only: str
) -> dict[str, GradeRecord]:
    """Compare every row with what it must be; read the files, not only what the program printed."""
    assert ran.returncode == 0, ran.stdout + ran.stderr
    out = folder / "out" / "demo"
    students = make_class(find_assignment("kv_cache", None), find_reference("kv_cache", None))
    assert len(students) >= 8
    records = {}
    for student in (student for student in students if not only or student.name in only):
        staff = out / "staff" / student.name / "record.json"
        record = from_json(GradeRecord, staff.read_text(encoding="utf-8"))
        records[student.name] = record
        assert as_expected(student, record), (
            f"{student.name}: {record.judgement.status}, {leading_cause(record)}, "
            f"{record.judgement.score}"
        )
        pages = {path.name for path in (out / "students" / student.name).iterdir()}
        assert {"report.html", "report.md"} <= pages
        row = next(line for line in ran.stdout.splitlines() if f"│ {student.name} " in line)
        assert record.judgement.status.value in row
        assert student.cause.value in row
    with (out / "grades.csv").open(encoding="utf-8", newline="") as file:
        rows = {row["submission"]: row for row in csv.DictReader(file)}
    assert rows.keys() == records.keys()
    if not only:
        assert UNMETERED_POINTS <= float(rows["ada"]["score"]) <= ALL_POINTS
    assert float(rows["mallory"]["score"]) == 0, "the cheating submission gained something"
    assert (out / "index.html").is_file()
    assert (out / "students" / "grace" / "feedback.ipynb").is_file()
    assert (out / "students" / "grace" / "feedback.html").is_file()
    seed = json.loads((out / "staff" / "run.json").read_text())["seed"]
    for page in (out / "students").rglob("*"):
        if page.is_file():
            assert seed not in page.read_text(encoding="utf-8")
    return records


@pytest.mark.bwrap
@pytest.mark.timeout(600)
def test_demo_in_bubblewrap(tmp_path: Path) -> None:
    records = check_demo(tmp_path, run_demo(tmp_path, os.environ["PATH"]))
    assert {record.measurement.sandbox for record in records.values()} == {"bwrap"}


@pytest.mark.timeout(600)
def test_demo_without_bubblewrap_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "bin"
    bare.mkdir()
    for program in ("ldconfig", "gcc", "ld"):  # what importing pyseccomp may look for
        found = shutil.which(program)
        if found:
            (bare / program).symlink_to(found)
    only = ("grace", "mallory")  # wrong and cheating are enough here, and need no timing
    ran = run_demo(tmp_path, str(bare), *only)
    records = check_demo(tmp_path, ran, *only)
    assert {record.measurement.sandbox for record in records.values()} == {"none"}
    assert "UNCONFINED" in ran.stdout
    page = (tmp_path / "out" / "demo" / "students" / "grace" / "report.html").read_text()
    assert "nconfined" in page
