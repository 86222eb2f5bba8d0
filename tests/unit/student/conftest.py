"""The solution of the small assignment, for the tests of a student's commands."""

from pathlib import Path

import pytest

from tests.unit.conftest import SLUG


@pytest.fixture
def solution(loaded: Path) -> str:
    return (loaded / "reference" / SLUG / "solution.py").read_text()
