"""Exports of course sites: every student once, the newest attempt, the right owner, no phantom."""

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grader.intake import Layout, Person, Submission, SubmissionSource, collect, load_submission
from grader.intake.layouts import identify, read_gradescope_list
from tests.unit.intake.work import GOOD, SLUG, notebook, write, zipped

Files = Mapping[str, bytes | str]
STARTER = notebook([])
MARK = f'slug = "kv_cache"\n[files]\n"kv_cache.ipynb" = "{sha256(STARTER).hexdigest()}"\n'

FLAT: dict[str, Callable[[str], Files]] = {
    "module": lambda text: {"kv_cache.py": text},
    "named otherwise": lambda text: {"my work.py": text},
    "second ending": lambda text: {"kv_cache.py.txt": text},
    "copy": lambda text: {"kv_cache (1).py": text},
    "with helper": lambda text: {"kv_cache.py": text, "rotary.py": GOOD},
    "with essay": lambda text: {"essay.pdf": b"%PDF", "kv_cache.py": text},
    "packed": lambda text: {"kv_cache-submission.zip": zipped({"kv_cache.py": text})},
    "zip": lambda text: {"work.zip": zipped({"hw1/src/kv_cache.py": text, "hw1/.git/x": "x"})},
    "zip in zip": lambda text: {
        "all.zip": zipped({"kv_cache-submission.zip": zipped({"kv_cache.py": text})})
    },
}
NESTED: dict[str, Callable[[str], Files]] = {
    "source folder": lambda text: {"src/kv_cache.py": text, ".git/objects/ab/c": b"\0"},
    "from a Mac": lambda text: {"hw/kv_cache.py": text, "__MACOSX/hw/._kv_cache.py": b"\0"},
    "init folder": lambda text: {
        "kv_cache.py": text,
        "kv_cache.ipynb": STARTER,
        "harness.py": GOOD,
        "README.md": "",
        ".grader.toml": MARK,
    },
    "environment": lambda text: {
        "kv_cache/kv_cache.py": text,
        **{f"kv_cache/.venv/lib/{n}.py": GOOD for n in range(110)},
        "kv_cache/myenv/pyvenv.cfg": "",
        **{f"kv_cache/myenv/lib/{n}.py": GOOD for n in range(110)},
    },
}


@dataclass(frozen=True)
class Student:
    name: str
    number: int
    attempts: tuple[Files, ...]


def moodle(students: list[Student]) -> Files:
    return {
        f"{s.name}_{s.number}_assignsubmission_file_/{name}": content
        for s in students
        for name, content in s.attempts[-1].items()
    } | {
        f"{s.name}_{s.number}_assignsubmission_onlinetext_/onlinetext.html": "<p>see file</p>"
        for s in students[1:]
    }


def moodle_flat(students: list[Student]) -> Files:
    return {
        f"{s.name}_{s.number}_assignsubmission_file_{name}": content
        for s in students
        for name, content in s.attempts[-1].items()
    }


def brightspace(students: list[Student]) -> Files:
    dates = ("Dec 9, 2025 1159 PM", "Feb 3, 2026 959 AM", "Feb 3, 2026 1011 AM")
    return {
        "index.html": "<html>",
        **{
            f"{s.number}-67890 - {s.name} - {dates[a]}/{name}": content
            for s in students
            for a, attempt in enumerate(s.attempts)
            for name, content in attempt.items()
        },
    }


def blackboard(students: list[Student]) -> Files:
    dates = ("2025-12-09-10-11-12", "2026-02-03-09-00-00", "2026-02-03-10-00-00")
    files: dict[str, bytes | str] = {}
    for s in students:
        for a, attempt in enumerate(s.attempts):
            start = f"Homework 1_u_{s.number}_attempt_{dates[a]}"
            files[f"{start}.txt"] = f"Name: {s.name} (u_{s.number})\r\nAssignment: Homework 1\r\n"
            files |= {f"{start}_{name}": content for name, content in attempt.items()}
    return files


def canvas(students: list[Student]) -> Files:
    files: dict[str, bytes | str] = {}
    for s in students:
        who = "".join(c for c in s.name.lower() if c.isalpha())
        for number, (name, content) in enumerate(s.attempts[-1].items()):
            stem, dot, ending = name.partition(".")
            again = "-1" if len(s.attempts) > 1 else ""
            files[f"{who}_{s.number}_{900 + number}_{stem}{again}{dot}{ending}"] = content
    return files


def gradescope(students: list[Student]) -> Files:
    entries = "".join(
        f"submission_{s.number}:\n"
        f'  :submitters:\n  - :name: "{s.name}"\n    :sid: "{s.number}"\n'
        f"    :email: u{s.number}@example.org\n"
        "  :created_at: 2026-02-03 10:11:12.000000000 Z\n  :results:\n    :tests:\n    - !bad\n"
        for s in students
    )
    return {"submission_metadata.yml": f"---\n{entries}"} | {
        f"submission_{s.number}/{name}": content
        for s in students
        for name, content in s.attempts[-1].items()
    }


def github(students: list[Student]) -> Files:
    return {
        f"hw1-u{s.number}/{name}": content
        for s in students
        for name, content in {**s.attempts[-1], ".git/config": "[core]"}.items()
    }


SITES = {
    Layout.MOODLE: moodle,
    Layout.BRIGHTSPACE: brightspace,
    Layout.GRADESCOPE: gradescope,
    Layout.GITHUB: github,
}
FLAT_SITES = {
    "moodle": moodle_flat,
    "blackboard": blackboard,
    "canvas": canvas,
}
WITH_NAMES = (moodle, moodle_flat, brightspace, blackboard, gradescope)
NAMES = (
    "Ada Example",
    "Anna-Lena O'Neil",
    "José Müller ü",
    "王 芳",
    "Ada Example",
    "Bo van der Li",
)
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None
)


@st.composite
def classes(draw: st.DrawFn, forms: Mapping[str, Callable[[str], Files]]) -> list[Student]:
    """Students with one to three attempts, each of a text that names student and attempt."""
    numbers = draw(st.lists(st.integers(1000, 99999), min_size=2, max_size=4, unique=True))
    return [
        Student(
            name=draw(st.sampled_from(NAMES)),
            number=number,
            attempts=tuple(
                forms[draw(st.sampled_from(sorted(forms)))](f"who = '{number}.{attempt}'\n")
                for attempt in range(draw(st.integers(1, 3)))
            ),
        )
        for number in numbers
    ]


def put(folder: Path, files: Files, container: str) -> Path:
    if container == "folder":
        for name, content in files.items():
            write(folder / "class" / name, content)
        return folder / "class"
    top = {"zip": "", "wrapped": "hw1 download/", "named": "export/"}[container]
    return write(folder / "export.zip", zipped({f"{top}{n}": c for n, c in files.items()}))


def check_class(site: Callable[[list[Student]], Files], students: list[Student], how: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        sources = collect([put(Path(folder), site(students), how)], SLUG)
        loaded = [load_submission(source, slug=SLUG) for source in sources]
    assert len(sources) == len(students)
    by_number = {s.number: s for s in students}
    for source, submission in zip(sources, loaded, strict=True):
        assert isinstance(submission, Submission), submission
        (person,) = source.people
        student = by_number.pop(int(person.number.lstrip("u_")))
        assert submission.files[0].text == f"who = '{student.number}.{len(student.attempts) - 1}'\n"
        if site in WITH_NAMES:
            assert person.name == student.name
        if site in (brightspace, blackboard):
            assert len(source.attempts) == len(student.attempts)
        if site is gradescope:
            assert person.email == f"u{student.number}@example.org"
        assert str(student.number) in source.key
    assert not by_number


CONTAINERS = st.sampled_from(["folder", "zip", "wrapped", "named"])


@pytest.mark.parametrize("site", SITES.values(), ids=lambda site: site.__name__)
@FEW
@given(students=classes({**FLAT, **NESTED}), how=CONTAINERS)
def test_exports_in_folders(
    site: Callable[[list[Student]], Files], students: list[Student], how: str
) -> None:
    check_class(site, students, how)


@pytest.mark.parametrize("site", FLAT_SITES.values(), ids=lambda site: site.__name__)
@FEW
@given(students=classes(FLAT), how=CONTAINERS)
def test_flat_exports(
    site: Callable[[list[Student]], Files], students: list[Student], how: str
) -> None:
    check_class(site, students, how)


def sources_of(tmp_path: Path, files: Files) -> dict[str, SubmissionSource]:
    found = collect([write(tmp_path / "export.zip", zipped(files))], SLUG)
    return {source.name: source for source in found}


def test_a_student_who_only_typed_text_is_one_who_is_rejected(tmp_path: Path) -> None:
    found = sources_of(
        tmp_path,
        {
            "HW_ann_attempt_2026-02-03-10-11-12.txt": "Name: Ann (ann)",
            "HW_bob_attempt_2026-02-03-10-11-12.txt": "Name: Bob (bob)",
            "HW_bob_attempt_2026-02-03-10-11-12_kv_cache.py": GOOD,
            "HW_bob_attempt_2026-02-04-10-11-12.txt": "Name: Bob (bob)",
        },
    )
    assert list(found) == ["ann", "bob"]
    assert found["bob"].attempts == ("2026-02-03-10-11-12", "2026-02-04-10-11-12")
    assert found["bob"].attempt == "2026-02-03-10-11-12"
    assert isinstance(load_submission(found["bob"], slug=SLUG), Submission)
    assert not isinstance(load_submission(found["ann"], slug=SLUG), Submission)


def test_what_systems_leave_behind_is_no_part_of_the_work(tmp_path: Path) -> None:
    start = "Ada_1_assignsubmission_file_"
    names = (".DS_Store", "._my work.py", "my work.py")
    (source,) = sources_of(tmp_path, {f"{start}{name}": GOOD for name in names}).values()
    submission = load_submission(source, slug=SLUG)
    assert isinstance(submission, Submission)
    assert (submission.graded_file, submission.notices[1:]) == ("my work.py", ())


def test_a_group_is_one_submission_with_all_its_members(tmp_path: Path) -> None:
    listed = (
        "submission_7: !ruby/hash:ActiveSupport::HashWithIndifferentAccess\n"
        "  :submitters:\n  - :name: Ada\n    :sid: 1\n  - :name: Bob\n    :email: b@x.org\n"
    )
    files = {"submission_metadata.yml": listed, "submission_7/kv_cache.py": GOOD}
    (source,) = sources_of(
        tmp_path, {f"assignment_3_export/{n}": c for n, c in files.items()}
    ).values()
    assert source.name == "Ada_Bob"
    assert source.people == (Person(name="Ada", number="1"), Person(name="Bob", email="b@x.org"))
    assert source.key == "gradescope:1+b@x.org"


@pytest.mark.parametrize(
    "content",
    [b"", b"- 1", b"a: {", b"\xff", b"a: &b [*b]", b"a: !!python/object/apply:os.system [ls]"],
)
def test_a_damaged_list_names_nobody(content: bytes) -> None:
    assert not any(read_gradescope_list(content).values())


@given(st.binary(max_size=200))
@settings(database=None, deadline=None)
def test_any_list_ends_in_people(content: bytes) -> None:
    assert isinstance(read_gradescope_list(content), dict)


def test_a_long_list_of_results_is_not_parsed() -> None:
    listed = "submission_1:\n  :results:\n" + "    - {a: [1, 2]}\n" * 200_000
    listed += "  :submitters:\n  - :name: Ada\n"
    assert read_gradescope_list(listed.encode()) == {"submission_1": (Person(name="Ada"),)}


def test_canvas_names_give_owner_and_file() -> None:
    (plain,) = identify("doejane_4711_99001_kv_cache.py")
    assert (plain.owner, plain.file, plain.late) == ("doejane_4711", "kv_cache.py", False)
    (late,) = identify("doejane_LATE_4711_99001_kv_cache-1.ipynb")
    assert (late.owner, late.file, late.late) == ("doejane_4711", "kv_cache.ipynb", True)
    (group,) = identify("projectgroup3_12_13_my work-2.py")
    assert (group.owner, group.file) == ("projectgroup3_12", "my work.py")
    (nameless,) = identify("LATE_anon_UYdN3_99001_kv_cache.py")
    assert (nameless.owner, nameless.file, nameless.late) == ("_anon_UYdN3", "kv_cache.py", True)
    for name in ("kv_cache.py", "2026_01_kv_cache.py"):
        assert identify(name) == ()


def test_canvas_students_without_a_file_are_rejected_and_nameless_ones_are_one_each(
    tmp_path: Path,
) -> None:
    files = {
        "anon_UYdN3_99001_kv_cache.py": GOOD,
        "anon_UYdN3_99002_rotary.py": GOOD,
        "doejane_4711_99003_kv_cache.py": GOOD,
        "roejohn_4712_text.html": "<p>def append(x): ...</p>",
        "zuse_LATE_4713_link.html": "<a>",
    }
    found = sources_of(tmp_path, files)
    assert list(found) == ["anon_UYdN3", "doejane_4711", "roejohn_4712", "zuse_4713"]
    loaded = [load_submission(source, slug=SLUG) for source in found.values()]
    assert [isinstance(one, Submission) for one in loaded] == [True, True, False, False]
    assert "found text typed into the course site" in getattr(loaded[2], "message", "")
    assert found["zuse_4713"].late


def test_feedback_that_lies_in_a_moodle_export_is_nobody(tmp_path: Path) -> None:
    files = {
        "Ada_1_assignfeedback_file/feedback.pdf": "%PDF",
        "Ada_1_assignsubmission_file/kv_cache.py": GOOD,
        "Bob_2_assignsubmission_file_kv_cache.py": GOOD,
        "Bob_2_assignfeedback_comments_comments.html": "<p>",
    }
    found = sources_of(tmp_path, files)
    assert list(found) == ["Ada_1", "Bob_2"]
    loaded = [load_submission(source, slug=SLUG) for source in found.values()]
    assert all(isinstance(one, Submission) for one in loaded)


@pytest.mark.parametrize(
    ("earlier", "later"),
    [
        ("Feb 3, 2026 959 AM", "Feb 3, 2026 1011 AM"),
        ("Feb 3, 2026 1159 AM", "Feb 3, 2026 1200 PM"),
        ("Feb 3, 2026 1201 AM", "Feb 3, 2026 111 AM"),
        ("Dec 31, 2025 1159 PM", "Jan 1, 2026 1200 AM"),
        ("3 February, 2026 10:11", "3 March, 2026 9:10"),
        ("27 avril 2026 10:11", "mardi 3 mai 2026 9:10"),
        ("28. Februar 2026 10:11", "2. März 2026 9:10"),
        ("30 juin 2026 10:11", "3 juil. 2026 9:10"),
    ],
)
def test_brightspace_dates_are_in_order(earlier: str, later: str) -> None:
    (first,), (second,) = (identify(f"1-2 - Ada - {date}") for date in (earlier, later))
    assert first.owner == second.owner
    assert first.order < second.order
