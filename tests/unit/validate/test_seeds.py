"""What the solution fails under some seeds only is found, by name and seed."""

from dataclasses import replace

import pytest

from grader.assignment.declare import load_folder
from grader.assignment.draw import Draw
from grader.validate.seed_vetting import further_seeds, play_seeds
from tests.unit.validate.small_assignment import CASES, SOLUTION, make_course, rank_course
from tests.unit.validate.test_triviality import validate_without_sandboxes

SEEDS = further_seeds("s", 12)
LOTTERY = CASES.replace(
    "    for _ in range(2):",
    "    wins = draw.integer(0, 3) > 0\n    for _ in range(2):",
).replace("lambda: 2 * x", "lambda: 2 * x if wins else 3 * x")


def played(loaded, seeds):
    return play_seeds(loaded, vars(load_folder(loaded.reference, "solution")), {}, seeds)


def loses(seed):
    path = ("tiny", "double", "values")
    return any(Draw(seed, path, index).integer(0, 3) == 0 for index in range(2))


def test_exactly_the_unlucky_seeds_are_found(tmp_path):
    found = played(make_course(tmp_path, cases=LOTTERY), SEEDS)
    expected = [seed for seed in SEEDS if loses(seed)]
    assert 0 < len(expected) < len(SEEDS)
    assert [(one.check, one.seed) for one in found.rejected_seeds] == [
        ("double.values", seed) for seed in expected
    ]
    assert found.seeds == SEEDS


def test_the_named_seed_repeats_the_failure(tmp_path):
    loaded = make_course(tmp_path, cases=LOTTERY)
    (first, *_) = played(loaded, SEEDS).rejected_seeds
    alone = replace(loaded, plan=replace(loaded.plan, seed=first.seed))
    assert played(alone, (first.seed,)).rejected_seeds == (first,)


def test_validation_complains_of_a_rejected_seed(tmp_path):
    loaded = make_course(tmp_path, cases=LOTTERY)
    lucky = next(seed for seed in SEEDS if not loses(seed))
    loaded = replace(loaded, plan=replace(loaded.plan, seed=lucky))
    validation = validate_without_sandboxes(loaded, seeds=len(SEEDS))
    assert validation.further.seeds == further_seeds(lucky, len(SEEDS))
    said = [c for c in validation.validation.complaints if "fails it under seed" in c]
    assert len(said) == len(validation.further.rejected_seeds)
    assert said[0].startswith("double.values: the solution fails it under seed ")
    first = validation.further.rejected_seeds[0].seed
    assert f"`grader validate tiny --seed {first}` repeats this" in said[0]


def test_a_lucky_solution_is_not_complained_about(tmp_path):
    validation = validate_without_sandboxes(make_course(tmp_path), seeds=3)
    assert validation.further.rejected_seeds == ()
    assert validation.further.largest == {"double.values": 0.0}
    assert not [c for c in validation.validation.complaints if "fails it under seed" in c]


def test_errors_are_told_as_shares_of_what_is_allowed(tmp_path):
    loaded = make_course(tmp_path, tolerance="1e-3")
    solution = SOLUTION.replace("return 2 * x", "return 2 * x * (1 + 4e-4)")
    (loaded.reference / "solution.py").write_text(solution)
    found = played(loaded, SEEDS)
    assert found.rejected_seeds == ()
    assert found.largest == {"double.values": pytest.approx(0.4, rel=1e-3)}


def test_cases_of_ranks_are_played_in_worlds():
    loaded = rank_course()
    solution = vars(load_folder(loaded.reference, "solution"))
    broken = {**solution, "average": lambda *arguments, **keywords: None}
    assert play_seeds(loaded, solution, {}, ("a",)).rejected_seeds == ()
    assert {
        one.check.split(".")[0] for one in play_seeds(loaded, broken, {}, ("a",)).rejected_seeds
    } == {"average"}
