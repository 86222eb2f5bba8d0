"""A small assignment, scaffolded once, for the tests of authors' tools and students' commands."""

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
def reference(loaded: Path) -> Path:
    return loaded / "reference" / SLUG
