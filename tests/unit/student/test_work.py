"""Which file is meant, and for which assignment."""

import json
import zipfile

import pytest

from grader.errors import UsageError
from grader.intake.files import MARK_FILE
from grader.student.kit import kit_files, write_kit
from grader.student.work import find_work, named_in

SLUG = "demo_assignment"


@pytest.fixture
def root(loaded):
    return loaded / "assignments"


@pytest.fixture
def folder(assignment, tmp_path):
    write_kit(kit_files(assignment, suffixes=(".py", ".ipynb")), tmp_path / "work", force=False)
    return tmp_path / "work"


def edit(path):
    path.write_text(path.read_text().replace("raise NotImplementedError", "return None"))


def test_untouched_starters_give_way_to_the_edited_one(folder, root):
    assert find_work(folder, None, root).path.name == f"{SLUG}.py"
    edit(folder / f"{SLUG}.ipynb")
    assert find_work(folder, None, root).path.name == f"{SLUG}.ipynb"


@pytest.mark.parametrize("name", [f"{SLUG}-submission.zip", "homework.zip"])
def test_a_zip_belongs_to_the_assignment_that_it_or_a_file_in_it_is_named_for(tmp_path, root, name):
    path = tmp_path / name
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"ada/{SLUG}.py", "x = 1\n")
    work = find_work(path, None, root)
    assert (work.path, work.slug) == (path, SLUG)


def test_two_edited_files_must_be_told_apart(folder, root):
    edit(folder / f"{SLUG}.py")
    edit(folder / f"{SLUG}.ipynb")
    with pytest.raises(UsageError, match="several files") as caught:
        find_work(folder, None, root)
    assert f"grader check {SLUG}" in caught.value.hint
    assert find_work(folder / f"{SLUG}.py", None, root).slug == SLUG


@pytest.mark.parametrize("suffix", [".py", ".ipynb"])
def test_the_file_alone_names_its_assignment(folder, root, tmp_path, suffix):
    (tmp_path / "alone").mkdir()
    moved = tmp_path / "alone" / f"homework{suffix}"
    moved.write_bytes((folder / f"{SLUG}{suffix}").read_bytes())
    assert named_in(moved) == SLUG
    assert find_work(tmp_path / "alone", None, root).path == moved
    assert find_work(moved, None, root).slug == SLUG


def test_the_only_file_is_taken_and_the_option_names_its_assignment(tmp_path, root):
    (tmp_path / "work.py").write_text("x = 1\n")
    (tmp_path / "harness.py").write_text("")
    with pytest.raises(UsageError, match="which assignment"):
        find_work(tmp_path, None, root)
    work = find_work(tmp_path, SLUG, root)
    assert (work.path.name, work.slug) == ("work.py", SLUG)


def test_the_file_name_can_name_the_assignment(tmp_path, root):
    (tmp_path / f"{SLUG}.py").write_text("x = 1\n")
    (tmp_path / "notes.py").write_text("")
    assert find_work(tmp_path, None, root).path.name == f"{SLUG}.py"


@pytest.mark.parametrize("name", ["nowhere.py", "notes.txt"])
def test_what_is_no_work_is_refused(tmp_path, name):
    (tmp_path / "notes.txt").write_text("")
    with pytest.raises(UsageError):
        find_work(tmp_path / name, None)


def test_an_empty_folder_says_how_to_start(tmp_path):
    with pytest.raises(UsageError) as caught:
        find_work(tmp_path, None)
    assert "grader init" in caught.value.hint


def test_a_damaged_mark_is_named(tmp_path):
    (tmp_path / MARK_FILE).write_text("slug = ")
    (tmp_path / "work.py").write_text("")
    with pytest.raises(UsageError, match="damaged"):
        find_work(tmp_path, None)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"metadata": 3}', "[" * 100_000, "\x00"])
def test_a_notebook_that_is_none_names_nothing(tmp_path, text):
    path = tmp_path / "a.ipynb"
    path.write_text(text)
    assert named_in(path) == ""


def test_a_kit_never_overwrites_unasked(folder, assignment):
    edit(folder / f"{SLUG}.py")
    files = kit_files(assignment, suffixes=(".py",))
    with pytest.raises(UsageError, match=f"overwrite {SLUG}.py"):
        write_kit(files, folder, force=False)
    assert "return None" in (folder / f"{SLUG}.py").read_text()
    write_kit(files, folder, force=True)
    assert "return None" not in (folder / f"{SLUG}.py").read_text()


def test_a_kit_has_handout_starter_and_mark(folder):
    names = {path.name for path in folder.iterdir()}
    assert names == {"README.md", MARK_FILE, f"{SLUG}.py", f"{SLUG}.ipynb"}
    notebook = json.loads((folder / f"{SLUG}.ipynb").read_text())
    tags = [cell["metadata"].get("tags") for cell in notebook["cells"]]
    assert ["export"] in tags
