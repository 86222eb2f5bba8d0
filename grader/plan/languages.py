"""Which languages an assignment takes, and what it must say for each.

Takes: an assignment. Gives: `Language`, `check_languages`. Does not cover: which file is in which
language (see `intake.admission`).
"""

from enum import StrEnum
from typing import TYPE_CHECKING

from grader.plan.toml_place import Locator

if TYPE_CHECKING:
    from grader.plan.assignment import Assignment


class Language(StrEnum):
    """What a submission may be written in."""

    PYTHON = "python"
    CUDA = "cuda"


def check_languages(assignment: "Assignment", locate: Locator) -> None:
    """Raise unless every export has one launcher where CUDA C++ is taken, and none elsewhere.

    Raises:
        AuthorError: naming file, line, key, what was expected and what was found.
    """
    if not assignment.languages or len({*assignment.languages}) < len(assignment.languages):
        locate.fail("languages", "each language once", [*assignment.languages])
    in_cuda = Language.CUDA in assignment.languages
    for problem in assignment.problems:
        if in_cuda and problem.ranks:
            locate.fail("languages", f"python alone, because {problem.name} has ranks", "cuda")
        found = [one.name for one in problem.launchers]
        expected = sorted(problem.exports) if in_cuda else []
        if sorted(found) != expected:
            listed = ", ".join(expected) or 'none without languages = ["python", "cuda"]'
            locate.fail("launcher", f"launchers of {problem.name}: {listed}", ", ".join(found))
    words: dict[str, tuple[str, ...]] = {}
    for parameter in (p for one in assignment.launchers for p in one.parameters if p.words):
        if words.setdefault(parameter.name, parameter.words) != parameter.words:
            locate.fail("inputs", f"the same words wherever {parameter.name} is", parameter.words)
