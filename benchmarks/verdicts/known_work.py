"""A small assignment with one target, whose reference does a known amount of work.

It is written to a folder and loaded like every other assignment. Its submissions are made in
`benchmarks.verdicts.patterns`.
"""

from pathlib import Path

from benchmarks.verdicts.patterns import (
    CALLS_PER_FORK,
    CALLS_PER_RUN,
    FULL_AT,
    PASS_AT,
    REFERENCE_UNITS,
    source_of,
)
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.assignment.plan import PlannedProblem, PlannedTarget

_ASSIGNMENT = f"""schema_version = 1
slug = "known"
title = "Work of a known amount"
allowed_imports = ["torch"]

[[problem]]
name = "double"
title = "Twice a number"
exports = ["double"]

[[problem.check]]
name = "values"
title = "The answer is right"
points = 1

[[problem.target]]
name = "time"
title = "No slower than the target"
points = 1
quantity = "time"
clock = "cpu"

[problem.target.tiers.cpu]
pass_at = {PASS_AT}
full_at = {FULL_AT}
"""

_CASES = f'''"""One case and one workload: the same calls."""

from grader.author import Call, Expect, case, workload


def calls(draw, count):
    """Call with a few numbers that were never seen before."""
    for _ in range(count):
        number = draw.integer(0, 1 << 40)
        got = yield Call("double", number)
        yield Expect(got, 2 * number, label="twice the number")


@case("double", "values", public=1, hidden=1)
def values(draw):
    """The number comes back twice as large."""
    yield from calls(draw, 1)


@workload("double", "time", sizes=({CALLS_PER_RUN},))
def time(draw, size):
    """Some calls, one after the other."""
    yield from calls(draw, size)
'''


def open_known_work(folder: Path) -> LoadedAssignment:
    """Write the assignment and its reference below an empty folder, and load them."""
    assignment, reference = folder / "assignments" / "known", folder / "reference" / "known"
    assignment.mkdir(parents=True)
    reference.mkdir(parents=True)
    (assignment / "assignment.toml").write_text(_ASSIGNMENT, encoding="utf-8")
    (reference / "cases.py").write_text(_CASES, encoding="utf-8")
    solution = source_of((REFERENCE_UNITS,) * CALLS_PER_FORK)
    (reference / "solution.py").write_text(solution, encoding="utf-8")
    return load_assignment_with_reference(assignment, reference, device="cpu", seed=new_seed())


def problem_of(loaded: LoadedAssignment) -> PlannedProblem:
    """Return its only problem."""
    (problem,) = loaded.plan.problems
    return problem


def target_of(loaded: LoadedAssignment) -> PlannedTarget:
    """Return its only target."""
    (target,) = problem_of(loaded).targets
    return target
