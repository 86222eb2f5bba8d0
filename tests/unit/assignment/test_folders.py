"""Where assignments are found, and in which order."""

import pytest

from grader.assignment.folders import find_assignment, list_assignments
from grader.errors import UsageError


def make(root, *slugs):
    for slug in slugs:
        (root / slug).mkdir(parents=True)
        (root / slug / "assignment.toml").write_text("")
    return root


def test_an_explicit_folder_is_the_only_one_searched(tmp_path, monkeypatch):
    explicit = make(tmp_path / "mine", "alpha")
    make(tmp_path / "assignments", "beta")
    monkeypatch.chdir(tmp_path)
    assert find_assignment("alpha", explicit) == explicit / "alpha"
    with pytest.raises(UsageError, match=r"no assignment 'beta'; here are: alpha"):
        find_assignment("beta", explicit)


def test_the_working_folder_comes_before_the_installed_package(tmp_path, monkeypatch):
    make(tmp_path / "here" / "assignments", "alpha")
    make(tmp_path / "package" / "_assignments", "alpha", "beta")
    monkeypatch.setattr("grader.assignment.folders.PACKAGE", tmp_path / "package")
    monkeypatch.chdir(tmp_path / "here")
    assert find_assignment("alpha").parent.name == "assignments"
    assert find_assignment("beta").parent.name == "_assignments"
    assert [folder.name for folder in list_assignments()] == ["alpha", "beta"]


def test_folders_beside_an_installed_package_are_not_a_checkout(tmp_path, monkeypatch):
    make(tmp_path / "site" / "assignments", "alpha")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setattr("grader.assignment.folders.PACKAGE", tmp_path / "site" / "grader")
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert list_assignments() == ()
    (tmp_path / "site" / "pyproject.toml").write_text("")
    assert find_assignment("alpha") == tmp_path / "site" / "assignments" / "alpha"


def test_an_explicit_folder_must_exist(tmp_path):
    with pytest.raises(UsageError, match="not a folder"):
        list_assignments(tmp_path / "nowhere")


@pytest.mark.parametrize("slug", ["", "..", "../assignments/alpha"])
def test_an_invalid_slug_finds_nothing(tmp_path, slug):
    root = make(tmp_path / "assignments", "alpha")
    with pytest.raises(UsageError):
        find_assignment(slug, root)
