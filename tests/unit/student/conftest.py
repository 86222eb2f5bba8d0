"""A small assignment, scaffolded once, for the tests of a student's commands."""

from pathlib import Path

import pytest

from grader.release.scaffold import write_scaffold

SLUG = "demo_assignment"


@pytest.fixture(scope="session")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `assignments/` and `reference/`."""
    root = tmp_path_factory.mktemp("course")
    write_scaffold(SLUG, root / "assignments", root / "reference")
    return root


@pytest.fixture
def assignment(loaded: Path) -> Path:
    return loaded / "assignments" / SLUG


@pytest.fixture
def solution(loaded: Path) -> str:
    return (loaded / "reference" / SLUG / "solution.py").read_text()
