"""Names belong to owners: whoever comes or goes, nobody gets another's folder or history."""

import contextlib
import tempfile
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.errors import StoreError, UsageError
from grader.intake.roster import make_unique
from grader.intake.submission import Attachment, Person, SubmissionSource
from grader.record.class_list import (
    RESERVED,
    ClassList,
    RosterResult,
    compare,
    enrol,
    read_class,
    read_earlier,
    read_roster,
    write_class,
)

CLASS = Path("/submissions")


def hand_in(files: list[str], folder: Path = CLASS) -> list[SubmissionSource]:
    """Return the submissions of a folder as `collect` returns them."""
    files = sorted(files)
    keys = [file.rpartition(".")[0] for file in files]
    return [
        SubmissionSource(name=name, key=key, parts=(Attachment(path=folder / file, label=file),))
        for name, key, file in zip(make_unique(keys), keys, files, strict=True)
    ]


def enrol_all(known: ClassList, files: list[str]) -> tuple[ClassList, dict[str, str]]:
    """Return the list, and the name of each file."""
    known, named = enrol(known, hand_in(files), [CLASS])
    return known, {one.parts[0].label: one.name for one in named}


def test_removing_one_student_gives_nobody_another_name() -> None:
    known, names = enrol_all(ClassList(), ["Müller.py", "Muller.py"])
    assert names == {"Muller.py": "Muller", "Müller.py": "Muller-2"}
    known, names = enrol_all(known, ["Müller.py"])
    assert names == {"Müller.py": "Muller-2"}
    assert known.aside == {"Muller"}
    known, names = enrol_all(known, ["Muller-2.py", "Müller.py", "Muller.py"])
    assert names == {"Muller-2.py": "Muller-2-2", "Müller.py": "Muller-2", "Muller.py": "Muller"}
    assert known.aside == frozenset()


OWNERS = ["Müller", "Muller", "muller", "MULLER", "Muller-2", "run.json", "王", "u738b", "x" * 90]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from(OWNERS)), max_size=8))
def test_any_coming_and_going_keeps_owner_and_name_together(classes: list[set[str]]) -> None:
    known, name_of = ClassList(), dict[str, str]()
    for students in classes:
        known, names = enrol_all(known, [f"{owner}.py" for owner in students])
        for file, name in names.items():
            assert name_of.setdefault(file, name) == name
        assert known.aside == {name_of[f] for f in name_of.keys() - names.keys()}
    folders = {name.lower() for name in name_of.values()}
    assert len(folders) == len(name_of)
    assert not folders & RESERVED


FILES = [f"{owner}.{end}" for owner in ("ann", "Ann", "bob") for end in ("py", "ipynb", "pdf")]


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from(FILES)), max_size=8))
def test_no_name_is_ever_given_to_a_second_owner(classes: list[set[str]]) -> None:
    known, owner_of = ClassList(), dict[str, str]()
    for files in classes:
        known, names = enrol_all(known, sorted(files))
        assert len({name.lower() for name in names.values()}) == len(files)
        for file, name in names.items():
            owner = file.rpartition(".")[0]
            assert owner_of.setdefault(name.lower(), owner) == owner


def test_a_file_of_another_kind_is_the_same_owner() -> None:
    known, _ = enrol_all(ClassList(), ["alice.pdf"])
    known, names = enrol_all(known, ["alice.py"])
    assert names == {"alice.py": "alice"}
    _, names = enrol_all(known, ["alice.py", "alice.zip"])
    assert names == {"alice.py": "alice", "alice.zip": "alice-2"}


def test_the_same_name_in_another_form_of_unicode_is_the_same_owner() -> None:
    known, _ = enrol_all(ClassList(), [unicodedata.normalize("NFC", "Renée.py")])
    known, names = enrol_all(known, [unicodedata.normalize("NFD", "Renée.py")])
    assert list(names.values()) == ["Renee"]
    assert len(known.members) == 1


def test_two_sections_with_one_file_name_stay_apart() -> None:
    first, second = Path("/one"), Path("/two")
    both = hand_in(["alice.py"], first) + hand_in(["alice.py"], second)
    known, named = enrol(ClassList(), both, [first, second])
    assert [one.name for one in named] == ["alice", "alice-2"]
    known, named = enrol(known, both[1:], [first, second])
    assert [one.name for one in named] == ["alice-2"]
    assert known.aside == {"alice"}


def test_who_was_not_asked_for_stays_in_the_class() -> None:
    known, _ = enrol_all(ClassList(), ["ada.py", "bob.py"])
    one = hand_in(["bob.py"])
    known, named = enrol(known, one, [CLASS / "bob.py"])
    assert ([s.name for s in named], known.aside) == (["bob"], frozenset())
    known, _ = enrol_all(known, ["ada.py"])
    assert known.aside == {"bob"}


def test_an_export_that_replaces_a_deleted_one_is_the_class(tmp_path: Path) -> None:
    old, new, kept = tmp_path / "old.zip", tmp_path / "new.zip", tmp_path / "b" / "kept.zip"
    known, _ = enrol(ClassList(), hand_in(["ada.py", "bob.py"], old), [old])
    known, _ = enrol(known, hand_in(["cyd.py"], kept), [kept])
    known, _ = enrol(known, hand_in(["ada.py"], new), [new])
    assert known.aside == {"bob"}


def test_a_folder_from_before_the_list_keeps_its_names() -> None:
    recorded = ["Muller", "Muller-2", "gone"]
    sources = hand_in(["Müller.py", "Muller.py", "Gone.py"])
    known, named = enrol(ClassList(), sources, [CLASS], recorded=recorded)
    assert [one.name for one in named] == ["Gone-2", "Muller", "Muller-2"]
    _, named = enrol(known, hand_in(["gone.py"]), [CLASS], recorded=recorded)
    assert [one.name for one in named] == ["gone-3"]


def test_the_list_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert read_class(tmp_path) == ClassList()
    known, _ = enrol_all(ClassList(), ["Müller.py", "王.py"])
    write_class(tmp_path, known)
    assert read_class(tmp_path) == known


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema_version": 3, "members": [1]}', "\0"])
def test_a_damaged_list_is_named_and_never_read_as_an_empty_one(tmp_path: Path, text: str) -> None:
    (tmp_path / "staff").mkdir()
    (tmp_path / "staff" / "class.json").write_text(text)
    with pytest.raises(StoreError, match="whose folder is whose") as caught:
        read_class(tmp_path)
    assert "another --out" in caught.value.hint


def test_a_damaged_store_is_named(tmp_path: Path) -> None:
    assert read_earlier(tmp_path) == ({}, ())
    (tmp_path / "staff").mkdir()
    (tmp_path / "staff" / "grades.sqlite").write_bytes(b"no database" * 100)
    with pytest.raises(StoreError, match=r"grades\.sqlite cannot be read"):
        read_earlier(tmp_path)


def beside(tmp_path: Path, roster: str | bytes, *files: str) -> RosterResult:
    path = tmp_path / "roster.csv"
    path.write_bytes(roster if isinstance(roster, bytes) else roster.encode())
    return compare(read_roster(path), hand_in([f"{file}.py" for file in files]))


ROSTERS = {
    "plain": "name,id,email\nJane Doe,4711,jd@x.edu\nJohn Roe,4712,jr@x.edu\n",
    "canvas": "Student,ID,SIS User ID,SIS Login ID,Section\n    Points Possible,,,,\n"
    '"Doe, Jane",4711,,jd,A\n"Roe, John",4712,,jr,A\n',
    "moodle": "First name,Surname,ID number,Email address\r\nJane,Doe,4711,jd@x.edu\r\n"
    "John,Roe,4712,jr@x.edu\r\n",
    "gradescope": "First Name\tLast Name\tSID\tEmail\nJane\tDoe\t4711\tjd@x.edu\n"
    "John\tRoe\t4712\tjr@x.edu\n",
    "for Excel": "sep=;\nName;E-Mail\nDoe, Jane;jd@x.edu\nRoe, John;jr@x.edu\n",
    "French": "Cours 7\nPr\u00e9nom;Nom;Courriel\nJane;Doe;jd@x.edu\nJohn;Roe;jr@x.edu\n",
    "two sections": 'Student,ID,Section\n"Doe, Jane",4711,A\n"Roe, John",4712,A\n'
    '"Doe, Jane",4711,B\n"Student, Test",9,A\n',
    "German": "Nachname;Vorname;Username\nDoe;Jane;jd\nRoe;John;4712\n",
}


@pytest.mark.parametrize("roster", ROSTERS.values(), ids=ROSTERS)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
def test_rosters_of_course_sites_are_read(tmp_path: Path, roster: str, encoding: str) -> None:
    result = beside(tmp_path, roster.encode(encoding), "Jane Doe", "somebody")
    (missing,) = result.missing
    assert "Roe" in missing
    assert result.unknown == ("somebody",)


@pytest.mark.parametrize(
    "owner", ["jd", "JD", "jd@x.edu", "4711", "doejane_4711", "Doe, Jane", "Jane Doe_99_file_"]
)
def test_a_person_is_found_by_the_owner_or_an_id_in_it(tmp_path: Path, owner: str) -> None:
    result = beside(tmp_path, ROSTERS["plain"], owner)
    assert result == RosterResult(missing=("John Roe (4712)",), unknown=())


def test_whoever_fits_two_lines_is_not_guessed(tmp_path: Path) -> None:
    roster = "name,id\nJane Doe,4711\nJane Doe,4712\n"
    assert beside(tmp_path, roster, "Jane Doe").unknown == ("Jane_Doe",)
    assert beside(tmp_path, roster, "Jane Doe_4712").missing == ("Jane Doe (4711)",)


def test_all_members_of_a_group_have_a_submission(tmp_path: Path) -> None:
    path = tmp_path / "roster.csv"
    path.write_text(ROSTERS["plain"])
    (source,) = hand_in(["group 3.py"])
    group = (Person(email="JD@x.edu"), Person(name="Roe, John"))
    source = SubmissionSource(name=source.name, parts=source.parts, people=group)
    assert compare(read_roster(path), [source]) == RosterResult(missing=(), unknown=())


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=200), st.text(max_size=200).map("name,id\n{}".format)))
def test_any_roster_is_read_or_refused(roster: bytes | str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roster.csv"
        path.write_bytes(roster if isinstance(roster, bytes) else roster.encode())
        with contextlib.suppress(UsageError):  # any other error fails the test
            assert all(line.names or line.ids for line in read_roster(path))


@pytest.mark.parametrize(
    ("roster", "said"),
    [
        *((text, r"line 1: expected columns") for text in ("", "\n", "a,b\n1,A\n", "\0", 'a"b\n"')),
        ("name,id\n\n", r"line 2: expected a line for each person below the titles, found nobody"),
        ('name,id\nJane,1\n"Roe,2\nAda,3\n', r"line 3: expected the cells of one person"),
    ],
)
def test_a_roster_without_people_is_refused_with_what_to_do(
    tmp_path: Path, roster: str, said: str
) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        beside(tmp_path, roster)
    assert "name,id,email" in caught.value.hint
    with pytest.raises(UsageError, match="--roster"):
        read_roster(tmp_path / "missing.csv")
