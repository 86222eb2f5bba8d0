"""Bundles installed side by side, newer ones over older ones, and what the student is told."""

import json
import re
import sys

import pytest
from typer.testing import CliRunner

from grader.assignment.folders import find_assignment, installed_versions, list_assignments
from grader.assignment.plan import hash_folder
from grader.assignment.table import load_assignment
from grader.commands.app import build_app
from grader.errors import AuthorError, UsageError
from grader.intake.files import MARK_FILE
from grader.student.bundle import Bundle, make_manifest
from grader.student.install import install, missing_triton, note_version, remove
from grader.student.kit import kit_files, renew_kit, write_kit
from grader.student.work import read_mark

TOML = """schema_version = 1
slug = "{slug}"
version = "{version}"
title = "Demo"
{more}
[[problem]]
name = "f"
title = "One"
exports = ["f"]
[[problem.check]]
name = "values"
title = "Values"
points = {points}
"""


def bundle_of(slug="demo", version="1.0", *, points=1, more="", said="", **changes):
    files = {
        "assignment.toml": TOML.format(slug=slug, version=version, points=points, more=more),
        "README.md": "# Demo\n",
        "starter.py": "# %%\ndef f(): ...\n",
        "harness/__init__.py": "turns = 3\n",
        "public/f.json": "{}",
    } | changes
    contents = {name: text.encode() for name, text in files.items() if text}
    manifest = make_manifest(slug, said or version, contents)
    return Bundle(manifest=manifest, sha256="", files=contents)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("GRADER_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("grader.assignment.folders.PACKAGE", tmp_path / "package")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "home"


def test_assignments_are_installed_side_by_side(home):
    done = install(bundle_of())
    assert (done.before, done.changes) == ("", ())
    assert done.folder == home / "assignments" / "demo" / "1.0" / "demo"
    install(bundle_of("other", "2.1"))
    assert [folder.name for folder in list_assignments()] == ["demo", "other"]
    assert find_assignment("demo") == done.folder
    assert load_assignment(find_assignment("other")).version == "2.1"


def test_what_is_installed_is_the_assignment_that_was_packed(tmp_path):
    packed = bundle_of()
    source = tmp_path / "demo"
    for name, content in packed.files.items():
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(content)
    assert hash_folder(install(packed).folder) == hash_folder(source)


def test_a_corrected_bundle_replaces_the_older_and_says_what_changed(home):
    install(bundle_of(**{"public/h.json": "{}"}))
    changes = {"README.md": "# New\n", "public/f.json": "[]", "public/h.json": ""}
    done = install(bundle_of(version="1.10", **changes, **{"public/new.json": "{}"}))
    assert done.before == "1.0"
    assert done.changes == (
        "changed: handout (README.md); public cases of f",
        "added: public cases of new",
        "removed: public cases of h",
    )
    assert list(installed_versions()) == ["demo"]
    assert [root.name for root in installed_versions()["demo"]] == ["1.10"]
    assert not list((home / "assignments").glob("*/.new-*"))


def test_the_newest_version_counts_by_its_numbers(home):
    install(bundle_of(version="1.9"))
    (home / "assignments" / "demo" / "1.9").rename(home / "aside")
    install(bundle_of(version="1.10"))
    (home / "aside").rename(home / "assignments" / "demo" / "1.9")
    assert find_assignment("demo").parent.name == "1.10"


def test_a_new_version_alone_is_no_change_of_the_points():
    install(bundle_of())
    assert install(bundle_of(version="1.1")).changes == ()
    (change,) = install(bundle_of(version="1.2", points=2)).changes
    assert change == "changed: points, limits or targets (assignment.toml)"


def test_other_files_of_the_same_version_are_named():
    install(bundle_of())
    again = install(bundle_of())
    assert (again.before, again.changes) == ("1.0", ())
    other = install(bundle_of(**{"starter.py": "# %%\nx = 1\n"}))
    assert (other.before, other.version) == ("1.0", "1.0")
    assert other.changes == ("changed: starter.py",)
    assert (other.folder / "starter.py").read_text() == "# %%\nx = 1\n"


def test_an_older_bundle_is_refused_until_the_newer_is_removed():
    install(bundle_of(version="1.2"))
    with pytest.raises(UsageError, match=r"demo 1\.2 is installed, and 1\.1 is older") as caught:
        install(bundle_of(version="1.1"))
    assert "grader remove demo" in caught.value.hint
    assert remove("demo") == ("1.2",)
    assert install(bundle_of(version="1.1")).before == ""


@pytest.mark.parametrize("bundle", [bundle_of(more="nokey = 1"), bundle_of(said="1.1")])
def test_a_bundle_that_this_grader_cannot_read_leaves_the_old_one(bundle):
    with pytest.raises(AuthorError):
        install(bundle)
    assert installed_versions() == {}
    install(bundle_of())
    with pytest.raises(AuthorError):
        install(bundle)
    assert (find_assignment("demo") / "README.md").is_file()


def test_a_home_that_cannot_be_written_is_named(home):
    home.write_text("a file")
    with pytest.raises(UsageError) as caught:
        install(bundle_of())
    assert "GRADER_HOME" in caught.value.hint


def test_removing_names_what_is_there(home):
    with pytest.raises(UsageError, match="installed are: none"):
        remove("demo")
    install(bundle_of())
    for name in ("../home", "nothing"):
        with pytest.raises(UsageError, match="installed are: demo"):
            remove(name)
    remove("demo")
    assert list_assignments() == ()


def test_without_a_home_nothing_is_installed(monkeypatch):
    monkeypatch.delenv("GRADER_HOME")
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    assert list_assignments() == ()
    with pytest.raises(UsageError, match="no home"):
        install(bundle_of())


def _no_home():
    raise RuntimeError("no home")


@pytest.fixture
def work(tmp_path):
    folder = tmp_path / "work"
    write_kit(kit_files(install(bundle_of()).folder, suffixes=(".py",)), folder, force=False)
    return folder


def test_a_newer_version_is_said_once_in_a_work_folder(work):
    old = load_assignment(find_assignment("demo"))
    assert note_version(work, old) == ""
    new = load_assignment(install(bundle_of(version="1.1")).folder)
    said = note_version(work, new)
    assert "demo 1.1 is used from now on" in said
    assert "made from 1.0" in said
    assert note_version(work, new) == ""
    mark = read_mark(work)
    assert (mark.version, mark.told) == ("1.0", "1.1")
    newest = load_assignment(install(bundle_of(version="1.2")).folder)
    assert "1.2" in note_version(work, newest)
    assert note_version(work, newest) == ""
    assert note_version(work.parent, newest) == ""  # no folder of `init`


def test_a_work_folder_is_renewed_but_for_what_was_edited(work):
    (work / "demo.py").write_text("mine\n")
    changes = {"README.md": "# New\n", "starter.py": "# %%\ndef f(x): ...\n"}
    folder = install(bundle_of(version="1.1", **changes, **{"harness/more.py": "a = 1\n"})).folder
    written, kept = renew_kit(kit_files(folder, suffixes=(".py",)), work)
    assert {path.name for path in written} == {"README.md", "more.py", MARK_FILE}
    assert kept == ("demo.py",)
    assert (work / "demo.py").read_text() == "mine\n"
    assert (work / "README.md").read_text() == "# New\n"
    assert read_mark(work).version == "1.1"
    (work / "demo.py").unlink()  # the work is elsewhere
    assert renew_kit(kit_files(folder, suffixes=(".py",)), work) == ((), ())


def test_an_untouched_starter_is_renewed(work):
    folder = install(bundle_of(version="1.1", **{"starter.py": "# %%\ndef f(x): ...\n"})).folder
    _, kept = renew_kit(kit_files(folder, suffixes=(".py",)), work)
    assert kept == ()
    assert "def f(x)" in (work / "demo.py").read_text()


@pytest.mark.parametrize(
    ("platform", "needs", "text", "says"),
    [
        ("linux", "", "import torch\n# import triton\n", ""),
        ("linux", "", "if True:\n    import triton.language as tl\n", "your file needs Triton"),
        ("linux", 'needs = ["triton"]', "", 'demo needs Triton.*pip install "triton'),
        ("darwin", 'needs = ["triton"]', "", "demo needs Triton.*Linux only"),
    ],
)
def test_missing_triton_is_named_where_it_is_needed(monkeypatch, platform, needs, text, says):
    table = load_assignment(install(bundle_of(more=needs)).folder)
    monkeypatch.setattr(sys, "platform", platform)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    found = missing_triton(table, [text])
    assert re.fullmatch(f".*{says}.*" if says else "", found)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: "found")
    assert missing_triton(table, [text]) == ""


def test_the_list_names_versions_and_what_cannot_be_read():
    install(bundle_of(version="1.3"))
    broken = install(bundle_of("other")).folder / "assignment.toml"
    broken.write_text("nonsense")
    listed = CliRunner().invoke(build_app("list"), ["list", "--json"])
    assert [(one["slug"], one["version"]) for one in json.loads(listed.stdout)] == [("demo", "1.3")]
    assert "not valid TOML" in listed.stderr
    assert "demo 1.3" in CliRunner().invoke(build_app("list"), ["list"]).stdout
