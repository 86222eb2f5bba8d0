import errno
import os
from pathlib import Path
from typing import Any

import pytest

from grader.errors import SandboxError, UsageError
from grader.intake import Rejected, Submission, collect, load_submission
from tests.unit.intake.work import GOOD, SLUG, notebook, write, zipped

Loaded = Submission | Rejected


def grade_names(*paths: Path) -> list[str]:
    return [handed.name for handed in collect(paths, SLUG)]


def take_all(*paths: Path) -> dict[str, Loaded]:
    return {handed.name: load_submission(handed, slug=SLUG) for handed in collect(paths, SLUG)}


@pytest.mark.parametrize("name", ["alice.py", "alice.ipynb", "alice.PY"])
def test_file_is_one_submission(tmp_path: Path, name: str) -> None:
    assert grade_names(write(tmp_path / name, GOOD)) == ["alice"]


@pytest.mark.parametrize("entry", ["kv_cache.py", "submission.ipynb", "KV-Cache.py"])
def test_folder_or_zip_with_entry_is_one_submission(tmp_path: Path, entry: str) -> None:
    write(tmp_path / "alice" / entry, GOOD)
    write(tmp_path / "alice" / "more.py", GOOD)
    archive = write(tmp_path / "bob.zip", zipped({entry: GOOD, "more.py": GOOD}))
    assert grade_names(tmp_path / "alice") == ["alice"]
    assert grade_names(archive) == ["bob"]


def test_other_folder_is_a_class(tmp_path: Path) -> None:
    write(tmp_path / "b.py", GOOD)
    write(tmp_path / "a.ipynb", notebook([]))
    write(tmp_path / "c.zip", zipped({"kv_cache.py": GOOD}))
    write(tmp_path / "dave" / "kv_cache.py", GOOD)
    for ignored in (".hidden.py", "grades.csv", "__MACOSX/x.py", ".ipynb_checkpoints/a.py"):
        write(tmp_path / ignored, GOOD)
    write(tmp_path / "__pycache__" / "b.py", GOOD)
    assert grade_names(tmp_path) == ["a", "b", "c", "dave"]


def test_class_zip_is_graded_in_memory(tmp_path: Path) -> None:
    members: dict[str, bytes | str] = {
        "b.py": GOOD,
        "c.zip": zipped({"kv_cache.py": GOOD}),
        "dave/kv_cache.py": GOOD,
        "dave/more.py": GOOD,
        "__MACOSX/._b.py": "",
        "notes.md": "",
        "erin.py.txt": GOOD,
    }
    archive = write(tmp_path / "class.zip", zipped(members))
    submission = take_all(archive)
    assert list(submission) == ["b", "c", "dave", "erin"]
    assert all(isinstance(one, Submission) for one in submission.values())
    dave = submission["dave"]
    assert isinstance(dave, Submission)
    assert [file.name for file in dave.files] == ["kv_cache.py", "more.py"]
    assert [path.name for path in tmp_path.iterdir()] == ["class.zip"]


def test_zip_of_a_whole_folder_is_looked_through(tmp_path: Path) -> None:
    archive = write(tmp_path / "hw.zip", zipped({"hw/alice.py": GOOD, "hw/bob.py": GOOD}))
    assert grade_names(archive) == ["alice", "bob"]


def test_canvas_attachments_of_one_student_are_one_submission(tmp_path: Path) -> None:
    archive = write(
        tmp_path / "submissions.zip",
        zipped(
            {
                "doejane_LATE_11_501_kv_cache-1.py": "import rotary\n",
                "doejane_LATE_11_502_rotary.py": GOOD,
                "roejohn_12_503_kv_cache.ipynb": notebook([]),
                "soejim_13_504_report.pdf": b"%PDF",
            }
        ),
    )
    submission = take_all(archive)
    assert list(submission) == ["doejane_11", "roejohn_12", "soejim_13"]
    jane = submission["doejane_11"]
    assert isinstance(jane, Submission)
    assert [file.name for file in jane.files] == ["kv_cache.py", "rotary.py"]
    assert jane.entry == "kv_cache"
    jim = submission["soejim_13"]
    assert isinstance(jim, Rejected)
    assert "found report.pdf" in jim.message


def test_canvas_names_are_recognised_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "doejane_11_501_my work.py", GOOD)
    assert grade_names(tmp_path) == ["doejane_11"]


@pytest.mark.parametrize("metadata", [b":submitters: [", b"\xff\xfe\x00", b""])
def test_gradescope_export_keeps_folder_names(tmp_path: Path, metadata: bytes) -> None:
    members: dict[str, bytes | str] = {
        "assignment_7_export/submission_metadata.yml": metadata,
        "assignment_7_export/submission_100/kv_cache.py": GOOD,
        "assignment_7_export/submission_101/kv_cache.py": GOOD,
    }
    archive = write(tmp_path / "export.zip", zipped(members))
    for name, content in members.items():
        write(tmp_path / "out" / name, content)
    wanted = ["submission_100", "submission_101"]
    assert grade_names(archive) == wanted
    assert grade_names(tmp_path / "out") == wanted
    assert grade_names(tmp_path / "out" / "assignment_7_export") == wanted


def test_same_file_name_in_many_folders_is_named_after_the_folder(tmp_path: Path) -> None:
    paths = [write(tmp_path / who / "kv_cache.py", GOOD) for who in ("zoe", "abe")]
    assert grade_names(*paths) == ["zoe", "abe"]
    assert grade_names(paths[0]) == ["zoe"]
    assert grade_names(paths[0], paths[0]) == ["zoe"]


def test_names_on_the_command_line_keep_their_owner(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    names = {
        "alice.py": "alice",
        "bob/kv_cache.py": "bob",
        "carl/src/kv_cache.py": "carl",
        "dora/kv_cache/kv_cache.ipynb": "dora",
        "erik/kv_cache-submission.zip": "erik",
        "fay/kv_cache (1).py": "fay",
        "hw1/gil.ipynb.json": "gil",
        "kv_cache.py": "kv_cache",
    }
    for path in names:
        write(Path(path), zipped({"kv_cache.py": GOOD}) if path.endswith(".zip") else GOOD)
    for path, owner in names.items():
        assert grade_names(Path(path)) == [owner]
        assert grade_names(tmp_path / path)[0] == (
            owner if path != "kv_cache.py" else tmp_path.name
        )
    assert grade_names(*map(Path, names)) == list(names.values())
    assert grade_names(Path("dora/kv_cache"), Path("carl/src")) == ["dora", "carl"]


@pytest.mark.parametrize(
    "files",
    [
        {"kv_cache-submission.zip": zipped({"kv_cache.py": GOOD}), "essay.pdf": "x"},
        {"src/kv_cache.py": GOOD, "tests/test_it.py": GOOD, "README.md": ""},
        {"hw1/src/kv_cache.py": GOOD},
        {"my work.py": GOOD, ".grader.toml": ""},
        {"kv_cache (1).py": GOOD},
    ],
)
def test_the_folder_of_one_person_is_one_submission(
    tmp_path: Path, files: dict[str, bytes | str]
) -> None:
    for name, content in files.items():
        write(tmp_path / "ann" / name, content)
        write(tmp_path / "class" / "ben" / name, content)
        write(tmp_path / "class" / "cleo" / name, content)
    assert grade_names(tmp_path / "ann") == ["ann"]
    assert grade_names(tmp_path / "class") == ["ben", "cleo"]
    assert grade_names(write(tmp_path / "dan.zip", zipped(files))) == ["dan"]
    assert grade_names(write(tmp_path / "eva.zip", zipped({"hw 1/x.py": GOOD}))) == ["eva"]


def test_one_file_in_a_zip_is_the_zip_owners(tmp_path: Path) -> None:
    assert grade_names(write(tmp_path / "dan.zip", zipped({"my work.py": GOOD}))) == ["dan"]
    assert grade_names(write(tmp_path / "eva.zip", zipped({"eva/my work.py": GOOD}))) == ["eva"]
    assert grade_names(write(tmp_path / "class.zip", zipped({"dan.zip": b""}))) == ["dan"]


def test_names_of_an_export_on_the_command_line_are_joined(tmp_path: Path) -> None:
    names = (
        "HW_ann_attempt_2026-02-03-10-11-12.txt",
        "HW_ann_attempt_2026-02-03-10-11-12_kv_cache.py",
        "HW_bob_attempt_2026-02-03-10-11-12_kv_cache.py",
        "HW_bob_attempt_2026-02-04-10-11-12_kv_cache.py",
        "index.html",
    )
    paths = [write(tmp_path / name, GOOD) for name in names]
    sources = collect(paths, SLUG)
    assert [source.name for source in sources] == ["ann", "bob"]
    assert sources[1].original == names[3]
    assert [len(source.attempts) for source in sources] == [1, 2]
    folder = write(tmp_path / "Ada B_7_assignsubmission_file_" / "kv_cache.py", GOOD).parent
    assert grade_names(folder) == ["Ada_B_7"]
    archive = zipped({"ann.py": GOOD, "bob.py": GOOD})
    assert grade_names(write(tmp_path / "hw_2026_02_all.zip", archive)) == ["ann", "bob"]


def test_an_export_in_folders_of_sections_or_users_is_one(tmp_path: Path) -> None:
    for path in (
        "ann/HW_ann_attempt_2026-02-03-10-11-12.txt",
        "ann/HW_ann_attempt_2026-02-03-10-11-12_kv_cache.py",
        "ann/HW_ann_attempt_2026-02-04-10-11-12_kv_cache.py",
        "section 2/Bob B_7_assignsubmission_file_/kv_cache.py",
        "cleo/kv_cache.py",
    ):
        write(tmp_path / "class" / path, GOOD)
    assert grade_names(tmp_path / "class") == ["ann", "cleo", "Bob_B_7"]


@pytest.mark.parametrize("parent", ["hw1-submissions", "class"])
def test_repositories_belong_to_their_users(tmp_path: Path, parent: str) -> None:
    for user in ("ann-lee", "ann-kim"):
        write(tmp_path / parent / f"hw1-{user}" / "kv_cache.py", GOOD)
        write(tmp_path / parent / f"hw1-{user}" / ".git" / "config", "")
    names = {source.people[0].number for source in collect([tmp_path / parent], SLUG)}
    assert names == ({"ann-lee", "ann-kim"} if parent != "class" else {"lee", "kim"})
    downloads = {
        f"hw1-{user}-main.zip": zipped({f"hw1-{user}-main/kv_cache.py": GOOD}) for user in "ab"
    }
    taken = take_all(write(tmp_path / "hw1.zip", zipped(downloads)))
    assert list(taken) == ["a", "b"]
    assert all(isinstance(one, Submission) for one in taken.values())
    write(tmp_path / "people" / "anna-lee" / "kv_cache.py", GOOD)
    write(tmp_path / "people" / "anna-kim" / "kv_cache.py", GOOD)
    assert grade_names(tmp_path / "people") == ["anna-kim", "anna-lee"]


def test_folders_of_a_gradescope_export_named_one_by_one_keep_their_owners(tmp_path: Path) -> None:
    listed = "submission_1:\n  :submitters:\n  - :name: Ada\nsubmission_2:\n  :submitters: []\n"
    paths = [write(tmp_path / "submission_metadata.yml", listed)]
    paths += [write(tmp_path / f"submission_{n}" / "kv_cache.py", GOOD).parent for n in (1, 2)]
    assert grade_names(*paths) == ["Ada", "submission_2"]
    assert grade_names(paths[1]) == ["Ada"]


def test_keys_do_not_depend_on_who_else_is_there(tmp_path: Path) -> None:
    write(tmp_path / "Müller.py", GOOD)
    (alone,) = collect([tmp_path], SLUG)
    write(tmp_path / "Muller.py", GOOD)
    keys = {source.key: source.name for source in collect([tmp_path], SLUG)}
    assert alone.key == "plain:Müller"
    assert keys == {"plain:Muller": "Muller", "plain:Müller": "Muller-2"}


def test_names_stay_unique_across_paths(tmp_path: Path) -> None:
    write(tmp_path / "one" / "alice.py", GOOD)
    write(tmp_path / "two" / "Alice.py", GOOD)
    assert grade_names(tmp_path / "one", tmp_path / "two") == ["alice", "Alice-2"]


@pytest.mark.parametrize("name", ["absent", "absent.py", "absent.zip"])
def test_missing_path_is_a_usage_error(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="not found") as raised:
        collect([tmp_path / name], SLUG)
    assert raised.value.hint


def test_empty_class_and_stray_file_are_usage_errors(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    archive = write(tmp_path / "empty.zip", zipped({"readme.md": ""}))
    stray = write(tmp_path / "grades.csv", "")
    for path in (empty, archive, stray):
        with pytest.raises(UsageError) as raised:
            collect([path], SLUG)
        assert raised.value.hint
    with pytest.raises(UsageError):
        collect([], SLUG)


def test_empty_folder_among_others_is_one_rejected_student(tmp_path: Path) -> None:
    (tmp_path / "bob").mkdir()
    submission = take_all(write(tmp_path / "alice.py", GOOD), tmp_path / "bob")
    assert isinstance(submission["alice"], Submission)
    assert isinstance(submission["bob"], Rejected)


def test_a_broken_submission_never_stops_a_class(tmp_path: Path) -> None:
    write(tmp_path / "alice.py", GOOD)
    write(tmp_path / "bob.zip", b"not a zip")
    os.mkfifo(tmp_path / "carol.py")
    (tmp_path / "dan").symlink_to("/etc")
    (tmp_path / "eve.py").symlink_to("/etc/passwd")
    (tmp_path / "assignment_1_export").symlink_to("/etc")
    submission = take_all(tmp_path)
    assert [name for name, one in submission.items() if isinstance(one, Submission)] == ["alice"]
    assert len(submission) == 6
    assert grade_names(tmp_path / "bob.zip") == ["bob"]
    assert grade_names(tmp_path / "carol.py") == ["carol"]
    assert grade_names(tmp_path / "dan") == ["dan"]


def test_an_essay_beside_the_work_is_no_student(tmp_path: Path) -> None:
    for name in ("alice.py", "Alice.pdf", "bob/kv_cache.py", "bob.docx", "carol.pdf"):
        write(tmp_path / name, GOOD)
    assert grade_names(tmp_path) == ["alice", "bob", "carol"]


def test_no_name_in_the_zip_of_a_class_is_left_out(tmp_path: Path) -> None:
    files = {"../alice.py": GOOD, "bob.py": GOOD, "/carol.py": GOOD, "./dan.py": GOOD}
    submission = take_all(write(tmp_path / "class.zip", zipped(files)))
    assert {name: isinstance(one, Submission) for name, one in submission.items()} == {
        "alice": False,
        "bob": True,
        "carol": False,
        "dan": True,
    }


def test_a_folder_that_nobody_may_read_never_stops_a_class(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("alice", "bob"):
        write(tmp_path / "class" / name / "kv_cache.py", GOOD)
    scan = os.scandir

    def refuse(path: Any = ".") -> Any:
        if "bob" in str(path):
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refuse)
    alice, bob = collect([tmp_path / "class"], SLUG)
    assert isinstance(load_submission(alice, slug=SLUG), Submission)
    with pytest.raises(SandboxError, match="Permission denied"):
        load_submission(bob, slug=SLUG)


def test_lonely_link_named_like_an_export_is_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "secret.py", GOOD)
    (tmp_path / "class").mkdir()
    (tmp_path / "class" / "assignment_1_export").symlink_to(tmp_path / "elsewhere")
    submission = take_all(tmp_path / "class")
    assert list(submission) == ["assignment_1_export"]
    assert isinstance(submission["assignment_1_export"], Rejected)
