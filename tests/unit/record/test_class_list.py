"""Names belong to owners: whoever comes or goes, nobody gets another's folder or history."""

import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grader.errors import StoreError
from grader.intake.roster import make_unique
from grader.intake.submission import Attachment, SubmissionSource
from grader.record.class_list import (
    RESERVED,
    ClassList,
    enrol,
    read_class,
    read_earlier,
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
