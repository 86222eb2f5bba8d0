"""A seed under which the solution fails is not used; a solution that always fails is not graded."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import pytest

from grader.errors import AuthorError
from grader.validate.fair_seed import TRIES, with_fair_seed
from grader.validate.seeds import Unlucky
from tests.unit.validate.course import SOLUTION, make_course, rank_course
from tests.unit.validate.test_seeds import LOTTERY, SEEDS, loses

LOSING = [seed for seed in SEEDS if loses(seed)]
WINNING = [seed for seed in SEEDS if not loses(seed)]


def tried(course, seed, drawn):
    """Try a seed; gives the course, what was told, and the seeds that were not drawn."""
    told: list[Sequence[Unlucky]] = []
    left = list(drawn)
    begun = replace(course, plan=replace(course.plan, seed=seed))
    fair = with_fair_seed(begun, on_unlucky=told.append, draw=lambda: left.pop(0))
    return fair, told, left


def test_a_lucky_seed_is_kept(tmp_path):
    course = make_course(tmp_path, cases=LOTTERY)
    fair, told, left = tried(course, WINNING[0], WINNING[1:])
    assert fair.plan.seed == WINNING[0]
    assert (told, left) == ([], WINNING[1:])


def test_unlucky_seeds_are_told_and_replaced(tmp_path):
    course = make_course(tmp_path, cases=LOTTERY)
    fair, told, left = tried(course, LOSING[0], [LOSING[1], *WINNING])
    assert fair.plan == replace(course.plan, seed=WINNING[0])
    assert [[(one.check, one.seed) for one in unlucky] for unlucky in told] == [
        [("double.values", seed)] for seed in LOSING[:2]
    ]
    assert left == WINNING[1:]


def test_a_solution_that_always_fails_ends_the_run(tmp_path):
    course = make_course(tmp_path)
    path = course.reference / "solution.py"
    path.write_text(SOLUTION.replace("2 * x", "3 * x"))
    drawn = list(SEEDS)
    with pytest.raises(AuthorError) as caught:
        with_fair_seed(course, on_unlucky=lambda unlucky: None, draw=lambda: drawn.pop(0))
    assert len(drawn) == len(SEEDS) - (TRIES - 1)
    said = str(caught.value)
    assert said.startswith(f"{path}: expected a solution that passes every hidden case")
    assert "fails double.values" in said
    assert "grader validate tiny" in caught.value.hint
    assert not [seed for seed in (course.plan.seed, *SEEDS) if f"seed {seed}" in said]


def test_public_cases_are_no_matter_of_the_seed(tmp_path):
    """`double.refuses` has a public case alone; another seed would not mend it."""
    course = make_course(tmp_path)
    path = course.reference / "solution.py"
    path.write_text(SOLUTION.replace("raise ValueError", "raise TypeError"))
    fair, told, _ = tried(course, "s", [])
    assert (fair.plan.seed, told) == ("s", [])


def test_ranks_are_tried_in_worlds():
    fair, told, _ = tried(rank_course(), "s", [])
    assert (fair.plan.seed, told) == ("s", [])


def test_what_libraries_warn_of_is_kept_quiet(tmp_path):
    course = make_course(tmp_path)
    noisy = "import warnings\n" + SOLUTION.replace(
        "    return 2 * x", "    warnings.warn('noise')\n    return 2 * x"
    )
    (course.reference / "solution.py").write_text(noisy)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        tried(course, "s", [])
    assert seen == []


def test_without_a_solution_there_is_nothing_to_try(tmp_path):
    course = make_course(tmp_path)
    (course.reference / "solution.py").unlink()
    fair, told, _ = tried(course, "s", [])
    assert (fair, told) == (course, [])
