"""What the solution fails under some seeds only is found, by name and seed."""

from dataclasses import replace

import pytest

from grader.author.declare import load_folder
from grader.author.draw import Draw
from grader.validate.seeds import further_seeds, play_seeds
from tests.unit.validate.course import CASES, SOLUTION, make_course, rank_course
from tests.unit.validate.test_triviality import prove_without_walls

SEEDS = further_seeds("s", 12)
LOTTERY = CASES.replace(
    "    for _ in range(2):",
    "    wins = draw.integer(0, 3) > 0\n    for _ in range(2):",
).replace("lambda: 2 * x", "lambda: 2 * x if wins else 3 * x")


def played(course, seeds):
    return play_seeds(course, vars(load_folder(course.reference, "solution")), {}, seeds)


def loses(seed):
    path = ("tiny", "double", "values")
    return any(Draw(seed, path, index).integer(0, 3) == 0 for index in range(2))


def test_exactly_the_unlucky_seeds_are_found(tmp_path):
    found = played(make_course(tmp_path, cases=LOTTERY), SEEDS)
    expected = [seed for seed in SEEDS if loses(seed)]
    assert 0 < len(expected) < len(SEEDS)
    assert [(one.check, one.seed) for one in found.unlucky] == [
        ("double.values", seed) for seed in expected
    ]
    assert found.seeds == SEEDS


def test_the_named_seed_repeats_the_failure(tmp_path):
    course = make_course(tmp_path, cases=LOTTERY)
    (first, *_) = played(course, SEEDS).unlucky
    alone = replace(course, plan=replace(course.plan, seed=first.seed))
    assert played(alone, (first.seed,)).unlucky == (first,)


def test_a_proof_complains_of_an_unlucky_seed(tmp_path):
    course = make_course(tmp_path, cases=LOTTERY)
    proof = prove_without_walls(course, seeds=len(SEEDS))
    assert proof.further.seeds == SEEDS
    said = [c for c in proof.validation.complaints if "another seed" in c]
    assert len(said) == len(proof.further.unlucky)
    assert said[0].startswith("double.values: the solution fails it under another seed")
    first = proof.further.unlucky[0].seed
    assert f"grader validate tiny --seed {first} repeats it" in said[0]


def test_a_lucky_solution_is_not_complained_about(tmp_path):
    proof = prove_without_walls(make_course(tmp_path), seeds=3)
    assert proof.further.unlucky == ()
    assert proof.further.largest == {"double.values": 0.0}
    assert not [c for c in proof.validation.complaints if "another seed" in c]


def test_errors_are_told_as_shares_of_what_is_allowed(tmp_path):
    course = make_course(tmp_path, tolerance="1e-3")
    solution = SOLUTION.replace("return 2 * x", "return 2 * x * (1 + 4e-4)")
    (course.reference / "solution.py").write_text(solution)
    found = played(course, SEEDS)
    assert found.unlucky == ()
    assert found.largest == {"double.values": pytest.approx(0.4, rel=1e-3)}


def test_cases_of_ranks_are_played_in_worlds():
    course = rank_course()
    solution = vars(load_folder(course.reference, "solution"))
    broken = {**solution, "average": lambda *arguments, **keywords: None}
    assert play_seeds(course, solution, {}, ("a",)).unlucky == ()
    assert {one.check.split(".")[0] for one in play_seeds(course, broken, {}, ("a",)).unlucky} == {
        "average"
    }
