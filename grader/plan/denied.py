"""Whether what an assignment denies exists: a misspelt name would deny nothing.

Takes: an assignment and its folder. Gives: `refuse_unknown_operators`. Does not cover: denying them
(see `runner.denial`).
"""

from pathlib import Path

from grader.plan.assignment import Assignment
from grader.plan.key_path import KeyPath


def refuse_unknown_operators(assignment: Assignment, folder: Path) -> None:
    """Look every `denied` entry up in this machine's torch, which is imported only if there is one.

    Raises:
        AuthorError: naming file, problem and entry.
    """
    if not any(problem.denied for problem in assignment.problems):
        return
    from grader.runner.operators import find_unknown  # imports torch

    place = KeyPath(file=folder / "assignment.toml")
    for problem in assignment.problems:
        for entry in find_unknown(problem.denied):
            within = place.inside("problem", problem.name)
            within.fail("denied", "operators, modules or classes of this torch", entry)
