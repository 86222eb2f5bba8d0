"""A teaching assistant with a Moodle export and a roster, from the first look to the grades."""

import csv
import io
import json
import zipfile

import pytest

from tests.flows.desk import SLUG, Course, open_course

pytestmark = pytest.mark.bwrap
MODULE = f"{SLUG}.py"
ADA, BOB, CELIK, DANA, EVE = PEOPLE = (
    *("Ada Lovelace_1001", "Bob Noyce_1002", "Çelik Yılmaz_1003", "Dana Scott_1004"),
    "Eve Online_1005",
)
ROSTER = "id,name\n" + "".join(
    f"{number},{name}\n" for name, number in (one.split("_") for one in (*PEOPLE, "Fay Alé_1006"))
)
EXPORT = f"grader grade {SLUG} moodle.zip --roster roster.csv --out grades"
TWO_FILES = "expected one file to grade, found"
NO_WORK = f"expected a file such as {MODULE} or {SLUG}.ipynb, found essay.pdf"

Export = dict[str, dict[str, bytes]]
"""Files by owner and name, as Moodle exports them."""


def zipped(files: dict[str, bytes]) -> bytes:
    """Return a zip; equal files give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name), content)
    return buffer.getvalue()


def write_export(course: Course, export: Export, name: str = "moodle.zip") -> None:
    """Write what Moodle gives for download: a folder for each student, and texts typed online."""
    files = {
        f"{owner}_assignsubmission_file_/{file}": content
        for owner, handed_in in export.items()
        for file, content in handed_in.items()
    }
    if ADA in export:
        files[f"{ADA}_assignsubmission_onlinetext_/onlinetext.html"] = b"<p>see the zip</p>"
    (course.desk.folder / name).write_bytes(zipped(files))


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Course:
    course = open_course(tmp_path_factory.mktemp("course"))
    (course.desk.folder / "roster.csv").write_text(ROSTER, encoding="utf-8")
    return course


@pytest.fixture(scope="module")
def export(course: Course) -> Export:
    solution, wrong = course.solution.encode(), course.wrong.encode()
    notebook = (course.desk.folder / "assignments" / SLUG / "starter.ipynb").read_bytes()
    edited = notebook.replace(b"raise NotImplementedError", b"return None")
    both = {f"hw/{MODULE}": solution, f"hw/{SLUG}.ipynb": edited, "hw/README.md": b"my work"}
    return {
        ADA: {f"{SLUG}-submission.zip": zipped({MODULE: solution})},
        BOB: {"essay.pdf": b"%PDF-1.7"},
        CELIK: {"hw.zip": zipped(both)},
        DANA: {MODULE: wrong},
        EVE: {MODULE: b"import matplotlib.pyplot as plt\n" + wrong},
    }


def rows(course: Course) -> dict[str, tuple[str, str]]:
    """Return status and score by name, as grades.csv has them."""
    text = (course.desk.folder / "grades" / "grades.csv").read_text(encoding="utf-8")
    return {
        row["submission"]: (row["status"], row["score"])
        for row in csv.DictReader(io.StringIO(text))
    }


def page(course: Course, name: str) -> str:
    path = course.desk.folder / "grades" / name
    return path.read_text(encoding="utf-8")


def record(course: Course, name: str) -> dict[str, object]:
    found: dict[str, object] = json.loads(page(course, f"staff/{name}/record.json"))
    return found


def test_a_look_before_grading_tells_who_is_who(course: Course, export: Export) -> None:
    write_export(course, export)
    printed = course.desk.types(f"{EXPORT} --dry-run")
    assert f"5 submissions of {SLUG}: 3 to grade; 2 rejected (cannot be read)" in printed
    assert f"Bob_Noyce_1002 (moodle.zip/{BOB}_assignsubmission_file_/): {NO_WORK}" in printed
    assert f"Celik_Yilmaz_1003 (moodle.zip/{CELIK}_assignsubmission_file_/): {TWO_FILES}" in printed
    assert "on the roster without a submission: Fay Alé (1006)" in printed
    assert "not found on the roster" not in printed
    assert "estimated time: under a minute (a guess" in printed
    flight = course.desk.reads(f"{EXPORT} --dry-run --json")
    fates = {one["name"]: (one["fate"], one["file"]) for one in flight["entries"]}
    assert fates == {
        "Ada_Lovelace_1001": ("grade", f"{SLUG}-submission.zip/{MODULE}"),
        "Bob_Noyce_1002": ("reject", ""),
        "Celik_Yilmaz_1003": ("reject", ""),
        "Dana_Scott_1004": ("grade", MODULE),
        "Eve_Online_1005": ("grade", MODULE),
    }
    assert not (course.desk.folder / "grades").exists()


def test_the_class_is_graded_and_who_was_rejected_has_no_score(
    course: Course, export: Export
) -> None:
    write_export(course, export)
    printed = course.desk.types(f"{EXPORT} --sandbox bwrap --jobs 2", code=1)
    assert "Ada_Lovelace_1001: graded, 100 of 100" in printed
    assert "Dana_Scott_1004: graded, 60 of 100" in printed
    assert f"Bob_Noyce_1002: rejected: {NO_WORK}" in printed
    assert rows(course) == {
        "Ada_Lovelace_1001": ("graded", "100"),
        "Bob_Noyce_1002": ("rejected", ""),
        "Celik_Yilmaz_1003": ("rejected", ""),
        "Dana_Scott_1004": ("graded", "60"),
        "Eve_Online_1005": ("graded", "60"),
    }
    index = page(course, "index.html")
    assert "found essay.pdf" in index
    assert all(f'href="students/{name}/report.html"' in index for name in rows(course))
    told = page(course, "students/Bob_Noyce_1002/report.md")
    assert "– / 100 points. Rejected." in told
    assert "correct the file and hand it in again" in told
    assert "matplotlib.pyplot" in page(course, "students/Eve_Online_1005/report.md")


def test_corrected_hand_ins_replace_and_who_leaves_is_gone(course: Course, export: Export) -> None:
    """The next download has the name of the first, as browsers save it after a `mv`."""
    solution = course.solution.encode()
    names = ("Bob_Noyce_1002", "Dana_Scott_1004")
    before = {name: record(course, name)["record_id"] for name in names}
    later = {**export, BOB: {MODULE: course.wrong.encode()}, DANA: {MODULE: solution}}
    del later[EVE]
    write_export(course, later)
    printed = course.desk.types(f"{EXPORT} --dry-run")
    assert "2 to grade; 1 graded before and unchanged; 1 rejected" in printed
    assert "no longer in the class (records are kept): Eve_Online_1005" in printed
    assert "on the roster without a submission: Eve Online (1005), Fay Alé (1006)" in printed
    printed = course.desk.types(f"{EXPORT} --sandbox bwrap", code=1)  # Çelik's, still
    assert "Ada_Lovelace_1001: graded, 100 of 100 (graded before)" in printed
    assert rows(course) == {
        "Ada_Lovelace_1001": ("graded", "100"),
        "Bob_Noyce_1002": ("graded", "60"),
        "Celik_Yilmaz_1003": ("rejected", ""),
        "Dana_Scott_1004": ("graded", "100"),
    }
    assert "Eve_Online_1005" not in page(course, "index.html")
    assert {name: record(course, name)["previous_id"] for name in names} == before


def test_one_student_is_graded_by_name_out_of_another_file(course: Course, export: Export) -> None:
    solution = course.solution.encode()
    later = {CELIK: {"hw.zip": zipped({f"hw/{MODULE}": solution})}, DANA: {MODULE: solution}}
    write_export(course, later, "late.zip")
    late = EXPORT.replace("moodle.zip", "late.zip")
    printed = course.desk.types(f"{late} --sandbox bwrap --only celik", code=2)
    assert "nobody here is called so hint: the nearest: Celik_Yilmaz_1003;" in printed
    printed = course.desk.types(f'{late} --sandbox bwrap --only "Çelik Yılmaz"')
    assert f"2 submissions of {SLUG}: 1 to grade; 1 left out by --only" in printed
    stays = "still in grades.csv: Ada_Lovelace_1001 (moodle.zip), Bob_Noyce_1002 (moodle.zip)"
    assert stays in printed
    assert rows(course) == {
        "Ada_Lovelace_1001": ("graded", "100"),
        "Bob_Noyce_1002": ("graded", "60"),
        "Celik_Yilmaz_1003": ("graded", "100"),
        "Dana_Scott_1004": ("graded", "100"),
    }
    index = (course.desk.folder / "grades" / "index.html").read_text(encoding="utf-8")
    course.desk.types("grader report grades")
    assert page(course, "index.html") == index


def test_mistakes_in_the_call_are_named(course: Course) -> None:
    printed = course.desk.types(f"grader grade {SLUG}s moodle.zip --out grades", code=2)
    assert f"no assignment '{SLUG}s'" in printed
    assert "hint" in printed
    printed = course.desk.types(f"grader grade {SLUG} nowhere.zip --out grades", code=2)
    assert "nowhere.zip: not found" in printed
