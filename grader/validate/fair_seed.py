"""Tries a class's seed on the solution before it counts, and draws another one if it is unlucky.

Takes: a course. Gives: the course under a seed whose hidden cases the solution passes. Does not
cover: targets, public cases (both are the same under every seed), how likely unlucky seeds are (see
`validate.seeds`).

Hidden cases are drawn once for a class. What the solution fails is lost to everyone, and would be
found when the grades are out. Trying takes 0.4 to 10 s, once for a class.
"""

import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace

from grader.errors import AuthorError
from grader.plan.course import Course, new_seed
from grader.validate.local_run import load_here
from grader.validate.seeds import Unlucky, play_seeds

TRIES = 4


def with_fair_seed(
    course: Course,
    *,
    on_unlucky: Callable[[Sequence[Unlucky]], None],
    draw: Callable[[], str] = new_seed,
) -> Course:
    """Return the course under its own seed, or under the first one drawn that does no harm.

    A course without a solution is returned as it is: there is nothing to try a seed on.

    Args:
        course: the assignment; its solution runs in this process.
        on_unlucky: told what the solution failed, each time that another seed is drawn.
        draw: gives a new secret seed.

    Raises:
        AuthorError: if the solution cannot be imported, or fails under `TRIES` seeds: then it is
            not the seed.
    """
    if not (course.reference / "solution.py").is_file():
        return course
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of libraries; boxes keep them to themselves as well
        solution, harness = load_here(course)
        for left in reversed(range(TRIES)):
            unlucky = play_seeds(course, solution, harness, (course.plan.seed,)).unlucky
            if not unlucky:
                return course
            if left:
                on_unlucky(unlucky)
                course = replace(course, plan=replace(course.plan, seed=draw()))
    names = ", ".join(dict.fromkeys(one.check for one in unlucky))
    raise AuthorError(
        f"{course.reference / 'solution.py'}: expected a solution that passes every hidden case, "
        f"found that it fails {names} under the last of {TRIES} seeds, and some check under each "
        f"of the others ({unlucky[0].summary})",
        hint=f"`grader validate {course.assignment.slug}` says more; `--seed` takes a seed that is "
        "not tried",
    )
