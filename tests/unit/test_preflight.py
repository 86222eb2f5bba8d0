"""What is said of a class before it is graded."""

import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from grader import preflight
from grader.assignment.reading import read_submission
from grader.assignment.table import Assignment, load_assignment
from grader.commands.grade import summary
from grader.errors import SandboxError, UsageError
from grader.intake import collect
from grader.intake.submission import Attachment, Layout, Person, SubmissionSource
from grader.preflight import Fate, Preflight, Wish, duration_text, survey
from grader.record.class_list import enrol, read_class, write_class
from grader.record.run_folder import RunFacts
from grader.record.store import RecordStore
from tests.unit.intake.work import GOOD, notebook, write, zipped

ROOT = Path(__file__).resolve().parents[2]
KV_CACHE = ROOT / "assignments" / "kv_cache"
RUN = RunFacts(schema_version=3, assignment="kv_cache", seed="s", plan_sha256="p")


@pytest.fixture(scope="module")
def assignment() -> Assignment:
    return load_assignment(KV_CACHE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a class with work of every fate."""
    folder = tmp_path / "class"
    write(folder / "ada.py", GOOD)
    write(folder / "bob" / "kv_cache.py", GOOD + "\n# my own\n")
    write(folder / "cyd.zip", zipped({"kv_cache.py": GOOD + "\n# mine\n", "notes.txt": ""}))
    write(folder / "dee.pdf", b"%PDF")
    write(folder / "eve.py", GOOD)
    write(folder / "flo.ipynb", notebook([]))
    return folder


def look(
    folder: Path, assignment: Assignment, out: Path, run: RunFacts | None = None, **wish: Any
) -> Preflight:
    return survey([folder], KV_CACHE, out, run, replace(Wish(), **wish))


def fates(flight: Preflight) -> dict[str, str]:
    return {entry.name: entry.fate.value for entry in flight.entries}


def put(out: Path, name: str, sha256: str, *, status: str = "graded", wall_s: float = 0.0) -> None:
    """Put the row of a record into the store, without the rest of the record."""
    with closing(RecordStore.in_folder(out / "staff")):
        pass
    body = f'{{"measurement": {{"wall_ns": {int(wall_s * 1e9)}}}}}' if wall_s else "damaged"
    with closing(sqlite3.connect(out / "staff" / "grades.sqlite")) as store, store:
        row = (f"{name}-{status}", name, sha256, "p", "", status, "2026", body)
        store.execute("INSERT INTO records VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)


def sha256s(folder: Path, assignment: Assignment, out: Path) -> dict[str, str]:
    found = collect([folder], assignment.slug)
    return {one.name: read_submission(one, assignment, KV_CACHE).sha256 for one in found}


def test_says_who_is_who_and_what_becomes_of_it(
    folder: Path, assignment: Assignment, tmp_path: Path
) -> None:
    flight = look(folder, assignment, tmp_path / "out")
    assert fates(flight) == {
        **dict.fromkeys(("ada", "bob", "cyd", "eve"), "grade"),
        **dict.fromkeys(("dee", "flo"), "reject"),
    }
    by_name = {entry.name: entry for entry in flight.entries}
    assert (by_name["bob"].original, by_name["bob"].file) == ("bob", "kv_cache.py")
    assert (by_name["cyd"].original, by_name["cyd"].file) == ("cyd.zip", "kv_cache.py")
    assert "found dee.pdf" in by_name["dee"].reason
    assert by_name["ada"].same_as == ("eve",)
    assert by_name["bob"].same_as == ()
    assert not (tmp_path / "out").exists()


def test_tells_what_was_graded_before_from_what_has_changed(
    folder: Path, assignment: Assignment, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    found = sha256s(folder, assignment, out)
    put(out, "ada", found["ada"])
    put(out, "bob", "other bytes")
    put(out, "cyd", found["cyd"], status="ungraded")
    flight = look(folder, assignment, out, RUN)
    assert [fates(flight)[name] for name in ("ada", "bob", "cyd", "dee")] == [
        *("kept", "grade", "grade", "reject")
    ]
    assert [entry.changed for entry in flight.entries[:3]] == [False, True, False]
    assert fates(look(folder, assignment, out, RUN, force=True))["ada"] == "grade"
    another = replace(RUN, plan_sha256="another")
    assert fates(look(folder, assignment, out, another))["ada"] == "grade"


def test_only_chooses_by_name_or_owner_and_names_the_nearest(
    assignment: Assignment, tmp_path: Path
) -> None:
    folder = tmp_path / "class"
    for name in ("Müller", "Muller", "王"):
        write(folder / f"{name}.py", GOOD)
    flight = look(folder, assignment, tmp_path / "out", only=("Müller", "u738b"))
    assert flight.only == {"Muller-2", "u738b"}
    assert fates(flight)["Muller"] == "left_out"
    with pytest.raises(UsageError, match="nobody here is called so") as caught:
        look(folder, assignment, tmp_path / "out", only=("Mullr",))
    assert "Muller" in caught.value.hint


def test_the_nearest_to_only_are_those_who_have_the_words_in_their_name_each_once(
    assignment: Assignment, tmp_path: Path
) -> None:
    folder = tmp_path / "class"
    for name in ("Ada Lovelace_1001", "Bob Noyce_1002", "Bob Dole_1003"):
        write(folder / f"{name}_assignsubmission_file_" / "kv_cache.py", GOOD)
    with pytest.raises(UsageError) as caught:
        look(folder, assignment, tmp_path / "out", only=("bob",))
    assert caught.value.hint.startswith("the nearest: Bob_Dole_1003, Bob_Noyce_1002;")
    with pytest.raises(UsageError) as caught:
        look(folder, assignment, tmp_path / "out", only=("zoe",))
    assert caught.value.hint.count("Ada_Lovelace_1001") == 1


def test_who_stays_in_the_grades_from_another_path_is_named(
    assignment: Assignment, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for export, names in {"old": ("ada", "bob"), "new": ("ada",)}.items():
        for name in names:
            write(tmp_path / export / f"{name}.py", GOOD)
    old = tmp_path / "old"
    known, _ = enrol(read_class(out), collect([old], assignment.slug), [old])
    write_class(out, known)
    for name in ("ada", "bob"):
        put(out, name, "some bytes")
    flight = look(tmp_path / "new", assignment, out)
    assert flight.elsewhere == ("bob (old)",)
    assert "still in grades.csv: bob (old)" in "\n".join(summary(flight, shown=2))
    shutil.rmtree(old)
    flight = look(tmp_path / "new", assignment, out)
    assert (flight.elsewhere, flight.aside) == ((), ("bob",))


def test_people_and_attempts_of_an_export_are_told(
    assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the intake says of owners and attempts is passed on; a key names its layout first."""
    part = Attachment(path=write(tmp_path / "a.py", GOOD), label="kv_cache.py")
    source = SubmissionSource(
        name="Doe_Jane",
        key="moodle:101",
        layout=Layout.MOODLE,
        parts=(part,),
        people=(Person(name="Jane Doe", number="101"),),
        attempts=("1", "2", "3"),
        attempt="2",
        late=True,
    )
    monkeypatch.setattr(preflight, "collect", lambda paths, slug: (source,))
    roster = write(tmp_path / "roster.csv", 'name,id\n"Doe, Jane",4711\nJohn Roe,4712\n')
    for only in ("101", "jane doe", "doe_jane"):
        flight = look(tmp_path, assignment, tmp_path / "out", only=(only,), roster=(roster,))
        (entry,) = flight.entries
        assert (entry.owner, entry.attempts, entry.attempt) == ("101", ("1", "2", "3"), "2")
        assert entry.late
        assert flight.only == {"Doe_Jane"}
        (result,) = flight.roster
        assert (result.missing, result.unknown) == (("John Roe (4712)",), ())


def test_a_file_that_this_machine_cannot_read_is_nobodys_rejection(
    folder: Path, assignment: Assignment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise SandboxError("cannot read ada.py: no rights")

    monkeypatch.setattr(preflight, "read_submission", fail)
    flight = look(folder, assignment, tmp_path / "out")
    assert {entry.fate for entry in flight.entries} == {Fate.FAIL}
    assert flight.entries[0].reason == "cannot read ada.py: no rights"


def test_the_time_rests_on_earlier_grades_of_the_folder_if_there_are_any(
    folder: Path, assignment: Assignment, tmp_path: Path
) -> None:
    guess = look(folder, assignment, tmp_path / "out").estimate
    assert "a guess for 7 problems" in guess.rests_on
    assert "at most 210 s" in guess.rests_on
    assert guess.total_s == 4 * guess.each_s
    out = tmp_path / "out"
    for name, wall_s in (("x", 10.0), ("y", 30.0), ("z", 0.0)):
        put(out, name, "", wall_s=wall_s)
    flight = look(folder, assignment, out, jobs=2)
    assert (flight.estimate.each_s, flight.estimate.total_s) == (20.0, 40.0)
    assert "the mean of 2 graded" in flight.estimate.rests_on


def test_the_summary_is_short_and_hostile_names_stay_on_their_line(
    assignment: Assignment, tmp_path: Path
) -> None:
    folder = tmp_path / "class"
    for number in range(12):
        write(folder / f"s{number:02}\x1b[31m\nx.pdf", b"%PDF")
    lines = list(summary(look(folder, assignment, tmp_path / "out"), shown=10))
    assert lines[0] == "12 submissions of kv_cache: 12 rejected (cannot be read)"
    assert len(lines) == 12
    assert lines[-1] == "  and 2 more; --dry-run names all"
    assert not any(set("\x1b\n") & set(line) for line in lines)


def test_a_file_that_may_be_the_wrong_one_is_named(tmp_path: Path, assignment: Assignment) -> None:
    write(tmp_path / "class" / "ada" / "kv_cache.py", (KV_CACHE / "starter.py").read_bytes())
    for name in ("kv_cache.py", "kv_cache (1).py"):
        write(tmp_path / "class" / "bob" / name, f"{GOOD}# {name}")
    flight = look(tmp_path / "class", assignment, tmp_path / "out")
    doubts = [
        "perhaps the wrong file: ada: kv_cache.py is the starter as it was handed out: nothing in "
        "it was edited",
        "perhaps the wrong file: bob: not used: kv_cache.py; kv_cache (1).py is newer by the "
        "number in its name",
    ]
    assert [line for line in summary(flight, shown=2) if "wrong" in line] == doubts
    assert "  and 1 more; --dry-run names all" in summary(flight, shown=1)


def test_two_files_that_may_be_one_students_are_named(
    tmp_path: Path, assignment: Assignment
) -> None:
    for name in ("ada.py", "ada.ipynb", "bob.py", "Bob (1).py", "bobby.py"):
        write(tmp_path / "class" / name, notebook([]) if "nb" in name else f"{GOOD}# {name}")
    lines = list(summary(look(tmp_path / "class", assignment, tmp_path / "out"), shown=2))
    assert (
        "perhaps one student's, but graded as two (remove one?): Bob__1 and bob, ada and ada-2"
        in lines
    )


def test_the_summary_names_roster_and_those_who_left(
    folder: Path, assignment: Assignment, tmp_path: Path
) -> None:
    roster = write(tmp_path / "roster.csv", "Name;E-Mail\nAda;ada@x.edu\nZoe Zuse;zoe@x.edu\n")
    lines = "\n".join(
        summary(look(folder, assignment, tmp_path / "out", roster=(roster,)), shown=2)
    )
    assert "on the roster without a submission: Zoe Zuse (zoe@x.edu)" in lines
    assert "not found on the roster, or fitting two of its lines: bob, cyd and 3 more" in lines
    assert "the same bytes: ada = eve" in lines
    assert "estimated time: about" in lines


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "under a minute"),
        (61, "about 1 min"),
        (3600, "about 1 h 0 min"),
        (1e5, "about 27 h 47 min"),
    ],
)
def test_durations_are_read_at_once(seconds: float, text: str) -> None:
    assert duration_text(seconds) == text


def test_what_is_said_before_grading_needs_no_torch() -> None:
    program = (
        "import sys, grader.commands.grade\n"
        "heavy = {'torch', 'numpy', 'docker', 'sqlalchemy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)
