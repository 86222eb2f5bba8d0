"""Where references are found: never inside the package."""

import pytest

from grader.assignment.folders import find_reference
from grader.errors import UsageError


def make(root, slug):
    (root / slug).mkdir(parents=True)
    (root / slug / "cases.py").write_text("")
    return root


def test_an_explicit_folder_is_the_only_one_searched(tmp_path, monkeypatch):
    private = make(tmp_path / "private", "alpha")
    make(tmp_path / "reference", "beta")
    monkeypatch.chdir(tmp_path)
    assert find_reference("alpha", private) == private / "alpha"
    with pytest.raises(UsageError, match=r"no reference for 'beta'; here are: alpha"):
        find_reference("beta", private)


def test_the_working_folder_then_the_checkout(tmp_path, monkeypatch):
    make(tmp_path / "here" / "reference", "alpha")
    make(tmp_path / "checkout" / "reference", "alpha")
    make(tmp_path / "checkout" / "reference", "beta")
    make(tmp_path / "checkout" / "grader" / "_reference", "gamma")
    (tmp_path / "checkout" / "pyproject.toml").write_text("")
    monkeypatch.setattr("grader.assignment.folders.PACKAGE", tmp_path / "checkout" / "grader")
    monkeypatch.chdir(tmp_path / "here")
    assert find_reference("alpha").resolve().parent.parent.name == "here"
    assert find_reference("beta").resolve().parent.parent.name == "checkout"
    with pytest.raises(UsageError, match=r"here are: alpha, beta"):
        find_reference("gamma")
