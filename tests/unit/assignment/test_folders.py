"""Where assignments are found, and in which order."""

from pathlib import Path

import pytest

from grader.assignment.declare import load_folder, load_harness, load_solution
from grader.assignment.folders import (
    find_assignment,
    harness_files,
    list_assignments,
    shared_files,
    solution_files,
)
from grader.assignment.plan import hash_folder
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


def test_the_working_folder_and_the_checkout_come_before_what_is_installed(tmp_path, monkeypatch):
    make(tmp_path / "here" / "assignments", "alpha")
    make(tmp_path / "checkout" / "assignments", "alpha", "beta")
    (tmp_path / "checkout" / "pyproject.toml").write_text("")
    for slug in ("alpha", "beta", "gamma"):
        make(tmp_path / "home" / "assignments" / slug / "1.0", slug)
    make(tmp_path / "home" / "assignments" / "gamma" / "not a version", "gamma")
    make(tmp_path / "home" / "assignments" / "gamma" / "9.0", "delta")
    monkeypatch.setattr("grader.assignment.folders.PACKAGE", tmp_path / "checkout" / "grader")
    monkeypatch.setenv("GRADER_HOME", str(tmp_path / "home"))
    monkeypatch.chdir(tmp_path / "here")
    assert find_assignment("alpha").parent == Path("assignments")
    assert find_assignment("beta").parent == tmp_path / "checkout" / "assignments"
    assert find_assignment("gamma").parent.name == "1.0"
    assert [folder.name for folder in list_assignments()] == ["alpha", "beta", "gamma"]


def test_folders_beside_an_installed_package_are_not_a_checkout(tmp_path, monkeypatch):
    make(tmp_path / "site" / "assignments", "alpha")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.setenv("GRADER_HOME", str(tmp_path / "home"))
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


def write(root, files):
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def names(files):
    return sorted(file.name for file in files)


def test_a_harness_holds_the_shared_files_that_it_imports(tmp_path):
    root = write(
        tmp_path / "assignments",
        {
            "alpha/harness/__init__.py": "from .model import model\nfrom . import loop\n",
            "alpha/harness/loop.py": "turns = 3\n",
            "shared/model.py": "from .sizes import width\n\n\ndef model():\n    return width\n",
            "shared/sizes.py": "width = 8\n",
            "shared/unused.py": "",
        },
    )
    files = harness_files(root / "alpha")
    expected = ["harness/__init__.py", "harness/loop.py", "harness/model.py", "harness/sizes.py"]
    assert names(files) == expected
    harness = load_harness(root / "alpha")
    assert (harness["model"](), harness["loop"].turns) == (8, 3)
    before = hash_folder(root / "alpha", files)
    (root / "shared" / "sizes.py").write_text("width = 16\n")
    assert hash_folder(root / "alpha", harness_files(root / "alpha")) != before
    # A student has all files in one folder: nothing is looked up elsewhere, and the hash is equal.
    alone = write(tmp_path / "kit", {file.name: file.text for file in files})
    assert sorted(harness_files(alone), key=str) == sorted(files, key=str)
    assert hash_folder(alone, harness_files(alone)) == before
    assert load_harness(alone)["model"]() == 8


def test_a_harness_of_one_file_and_none(tmp_path):
    root = write(tmp_path, {"one/harness.py": "a = 1\n", "none/README.md": ""})
    assert names(harness_files(root / "one")) == ["harness.py"]
    assert load_harness(root / "one")["a"] == 1
    assert harness_files(root / "none") == ()
    assert load_harness(root / "none") == {}


def test_a_solution_travels_with_the_kernels_that_it_imports(tmp_path):
    root = write(
        tmp_path,
        {
            "reference/alpha/solution.py": "from kernels.double import double\n",
            "kernels/double.py": "from .factor import TWO\n\ndouble = TWO.__mul__\n",
            "kernels/factor.py": "TWO = 2\n",
            "kernels/other.py": "",
        },
    )
    files = solution_files(root / "reference" / "alpha")
    expected = ["kernels/__init__.py", "kernels/double.py", "kernels/factor.py", "submission.py"]
    assert files[0].name == "submission.py"
    assert names(files) == expected
    assert load_solution(root / "reference" / "alpha").double(3) == 6
    assert solution_files(root / "reference") == ()


def test_a_reference_imports_the_harness_and_shared_files(tmp_path):
    root = write(
        tmp_path,
        {
            "reference/alpha/oracle.py": "from .model import a\nfrom .text import b\n",
            "assignments/alpha/harness/model.py": "a = 1\n",
            "assignments/shared/text.py": "b = 2\n",
        },
    )
    oracle = load_folder(root / "reference" / "alpha", "oracle")
    assert (oracle.a, oracle.b) == (1, 2)
    assert names(shared_files(root / "reference" / "alpha")) == [
        "reference/model.py",
        "reference/text.py",
    ]
