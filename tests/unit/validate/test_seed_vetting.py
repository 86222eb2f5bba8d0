"""A seed under which the solution fails is not used; a solution that always fails is not graded."""

import warnings
from collections.abc import Sequence
from dataclasses import replace

import pytest

from grader.errors import AuthorError
from grader.validate.seed_vetting import TRIES, RejectedSeed, with_vetted_seed
from tests.unit.validate.small_assignment import SOLUTION, make_course, rank_course
from tests.unit.validate.test_seeds import LOTTERY, SEEDS, loses

LOSING = [seed for seed in SEEDS if loses(seed)]
WINNING = [seed for seed in SEEDS if not loses(seed)]


def tried(loaded, seed, drawn):
    """Try a seed; gives the course, what was told, and the seeds that were not drawn."""
    told: list[Sequence[RejectedSeed]] = []
    left = list(drawn)
    begun = replace(loaded, plan=replace(loaded.plan, seed=seed))
    fair = with_vetted_seed(begun, on_rejected_seed=told.append, draw=lambda: left.pop(0))
    return fair, told, left


def test_a_lucky_seed_is_kept(tmp_path):
    loaded = make_course(tmp_path, cases=LOTTERY)
    fair, told, left = tried(loaded, WINNING[0], WINNING[1:])
    assert fair.plan.seed == WINNING[0]
    assert (told, left) == ([], WINNING[1:])


def test_unlucky_seeds_are_told_and_replaced(tmp_path):
    loaded = make_course(tmp_path, cases=LOTTERY)
    fair, told, left = tried(loaded, LOSING[0], [LOSING[1], *WINNING])
    assert fair.plan == replace(loaded.plan, seed=WINNING[0])
    assert [[(one.check, one.seed) for one in rejected_seeds] for rejected_seeds in told] == [
        [("double.values", seed)] for seed in LOSING[:2]
    ]
    assert left == WINNING[1:]


def test_a_solution_that_always_fails_ends_the_run(tmp_path):
    loaded = make_course(tmp_path)
    path = loaded.reference / "solution.py"
    path.write_text(SOLUTION.replace("2 * x", "3 * x"))
    drawn = list(SEEDS)
    with pytest.raises(AuthorError) as caught:
        with_vetted_seed(
            loaded, on_rejected_seed=lambda rejected_seeds: None, draw=lambda: drawn.pop(0)
        )
    assert len(drawn) == len(SEEDS) - (TRIES - 1)
    said = str(caught.value)
    assert said.startswith(f"{path}: expected a solution that passes every hidden case")
    assert "fails double.values" in said
    assert "grader validate tiny" in caught.value.hint
    assert not [seed for seed in (loaded.plan.seed, *SEEDS) if f"seed {seed}" in said]


def test_public_cases_are_no_matter_of_the_seed(tmp_path):
    """`double.refuses` has only a public case; another seed would not help."""
    loaded = make_course(tmp_path)
    path = loaded.reference / "solution.py"
    path.write_text(SOLUTION.replace("raise ValueError", "raise TypeError"))
    fair, told, _ = tried(loaded, "s", [])
    assert (fair.plan.seed, told) == ("s", [])


def test_ranks_are_tried_in_worlds():
    fair, told, _ = tried(rank_course(), "s", [])
    assert (fair.plan.seed, told) == ("s", [])


def test_what_libraries_warn_of_is_kept_quiet(tmp_path):
    loaded = make_course(tmp_path)
    noisy = "import warnings\n" + SOLUTION.replace(
        "    return 2 * x", "    warnings.warn('noise')\n    return 2 * x"
    )
    (loaded.reference / "solution.py").write_text(noisy)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        tried(loaded, "s", [])
    assert seen == []


def test_without_a_solution_there_is_nothing_to_try(tmp_path):
    loaded = make_course(tmp_path)
    (loaded.reference / "solution.py").unlink()
    fair, told, _ = tried(loaded, "s", [])
    assert (fair, told) == (loaded, [])
