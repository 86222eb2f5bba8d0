"""Why the solution fails is told once, with its place; a case that does not repeat is refused."""

import re

import pytest

from grader.assignment.loaded import load_assignment_with_reference
from grader.errors import AuthorError
from grader.evidence.measurement import Measurement, ProblemMeasurement
from grader.validate.rehearsal import find_unsteady, rehearse, rehearse_twice, replay
from grader.validate.validate import _failures
from tests.unit.validate.small_assignment import CASES, SOLUTION, make_course, rank_course

TWICE = (
    r"double.values, public case 0 \(cases.py, line \d+\): played twice under one seed, it differs"
)
DRAWN = "draw.normal_tensor(5)"
ONE_ORACLE = CASES.replace("lambda: 2 * x", "lambda: twice(x)").replace(
    'yield Raises(Call("double", draw.normal_tensor()), "ValueError", label="a scalar")',
    'got = yield Call("double", draw.normal_tensor(1))\n'
    '    yield Expect(got, lambda: twice(got), label="again")',
)


def causes(tmp_path, *, cases=CASES, solution=SOLUTION, oracle="", tolerance="1e-6"):
    loaded = make_course(tmp_path, cases=oracle + cases, tolerance=tolerance)
    (loaded.reference / "solution.py").write_text(solution)
    return rehearse(loaded).causes


def unsteady(tmp_path, cases):
    loaded = make_course(tmp_path, cases=cases)
    first = rehearse(loaded)
    assert first.causes == ()
    return list(find_unsteady(first.played, replay(loaded, first.played)))


def test_a_good_solution_has_no_causes_and_repeats_itself(tmp_path):
    assert unsteady(tmp_path, CASES) == []


def test_ranks_repeat_themselves_without_another_world():
    loaded = rank_course()
    first = rehearse(loaded)
    assert first.causes == ()
    assert list(find_unsteady(first.played, replay(loaded, first.played))) == []


@pytest.mark.parametrize(
    "made",
    [
        "torch.randn(5)",
        "torch.full((5,), random.random())",
        "torch.from_numpy(numpy.random.rand(5)).float()",
        "torch.full((5,), time.perf_counter() % 1)",
        "torch.full((5,), float(next(count)))",
        "torch.ones(random.choice(range(1, 10**6)))",
    ],
)
def test_inputs_that_do_not_come_from_the_draw_are_refused(tmp_path, made):
    imports = "import itertools, random, time\nimport numpy, torch\ncount = itertools.count(1)\n"
    (said,) = unsteady(tmp_path, imports + CASES.replace(DRAWN, made))
    assert re.match(TWICE, said)
    assert "in step 1 (double): args[0]: float32[" in said
    assert "from `draw`" in said


def test_a_random_oracle_is_refused_where_it_is_compared(tmp_path):
    random = CASES.replace("lambda: 2 * x", "lambda: 2 * x * (1 + 4e-4 * torch.rand(1))")
    loaded = make_course(tmp_path, cases="import torch\n" + random, tolerance="1e-3")
    first = rehearse(loaded)
    (said,) = find_unsteady(first.played, replay(loaded, first.played))
    assert "step 2 (double(x)): want: float32[5]" in said


def test_a_random_oracle_is_named_before_the_failures_that_it_makes(tmp_path):
    cases = "import torch\n" + CASES.replace("lambda: 2 * x", "lambda: 2 * x * (1 + torch.rand(1))")
    first, second = rehearse_twice(make_course(tmp_path, cases=cases)).causes
    assert "it differs in step 2 (double(x)): want" in first
    assert "the solution fails it (cases.py" in second


def test_another_order_of_a_set_is_found_in_a_second_process(tmp_path):
    names = "{" + ", ".join(f'"name{number}"' for number in range(30)) + "}"
    cases = CASES.replace('label="double(x)"', f'label=" ".join({names})')
    (said,) = rehearse_twice(make_course(tmp_path, cases=cases)).unsteady
    assert "it differs in step 2 (name" in said
    assert ": label: " in said


def test_cases_that_a_second_process_cannot_play_are_told(tmp_path):
    cases = "import os\nassert 'PYTHONHASHSEED' not in os.environ, 'only once'\n" + CASES
    loaded = make_course(tmp_path, cases=cases)
    (said,) = rehearse_twice(loaded).unsteady
    assert said.startswith("the cases cannot be played in a second process: ")
    assert "only once" in said


def test_an_error_of_the_oracle_is_one_cause_with_its_line(tmp_path):
    (said,) = causes(tmp_path, cases=ONE_ORACLE, oracle="def twice(x):\n    return x.dobule()\n\n")
    assert said.startswith("double.values (3 of 3 cases), double.refuses (1 of 1 cases): ")
    assert "AttributeError: 'Tensor' object has no attribute 'dobule'" in said
    assert said.endswith("cases.py, line 2: `return x.dobule()`")


def test_a_missing_tolerance_says_so(tmp_path):
    rounded = SOLUTION.replace("2 * x", "2 * x * (1 + 1e-6)")
    loaded = make_course(tmp_path)
    (loaded.reference / "solution.py").write_text(rounded)
    table = loaded.folder / "assignment.toml"
    table.write_text(table.read_text().replace("tolerance = { float32 = 1e-6 }\n", ""))
    (said,) = rehearse(read_again(loaded)).causes
    assert "it compares floats of dtype float32 and states no tolerance" in said
    assert "Add `tolerance = { float32 = … }` to its [[problem.check]]" in said


def read_again(loaded):
    folders = loaded.folder, loaded.reference
    return load_assignment_with_reference(*folders, device="cpu", seed=loaded.plan.seed)


def test_a_case_that_compares_nothing_says_so_once(tmp_path):
    cases = CASES.replace('yield Expect(got, lambda: 2 * x, label="double(x)")', "pass")
    (said,) = causes(tmp_path, cases=cases)
    assert said.startswith(
        "double.values (3 of 3 cases): its case compares nothing (cases.py, line"
    )


def test_a_wrong_solution_is_told_with_both_values(tmp_path):
    (said,) = causes(tmp_path, solution=SOLUTION.replace("2 * x", "3 * x"))
    assert said.startswith("double.values (3 of 3 cases): the solution fails it (cases.py, line ")
    assert "the oracle gives " in said
    assert "allowed 1e-06" in said


def test_a_solution_that_raises_is_told_with_its_line(tmp_path):
    (said,) = causes(tmp_path, solution=SOLUTION.replace("return 2 * x", "return x.dobule()"))
    assert "the solution ends the case: AttributeError" in said
    assert said.endswith("solution.py, line 5: `return x.dobule()`")


def test_a_solution_that_raises_otherwise_than_asked_is_told(tmp_path):
    (said,) = causes(tmp_path, solution=SOLUTION.replace("raise ValueError", "raise KeyError"))
    assert said.startswith("double.refuses (1 of 1 cases): the solution fails it (cases.py, line ")
    assert "expected ValueError, got KeyError" in said


def test_a_name_that_the_solution_lacks_is_told_with_the_case_that_calls_it(tmp_path):
    told = causes(tmp_path, solution=SOLUTION.replace("double", "dubble"))
    assert len(told) == 2
    assert "the solution ends the case: double is not defined in solution.py; define it" in told[0]
    assert re.search(r"or correct cases.py, line \d+$", told[0])


def test_a_case_that_yields_no_step_is_told_what_it_yields(tmp_path):
    (said,) = causes(
        tmp_path, cases=CASES.replace("yield Expect(got,", "yield got; (lambda *_, **__: 0)(")
    )
    assert said.startswith("double.values (3 of 3 cases): values: the case itself failed: ")
    assert "it yields a Tensor; expected a step such as `Call` (cases.py, line" in said


def test_a_case_that_is_no_generator_is_told_with_its_line(tmp_path):
    cases = CASES.replace('"""Twice the input."""', "return [draw]\n\ndef unused(draw):")
    with pytest.raises(AuthorError, match=r"cases.py, line 4: values returns a list, not a gener"):
        rehearse(make_course(tmp_path, cases=cases))


def test_a_solution_that_fails_in_a_sandbox_alone_is_told_with_cause_and_summary(tmp_path):
    loaded = make_course(tmp_path)
    (loaded.reference / "solution.py").write_text(SOLUTION.replace("2 * x", "3 * x"))
    cases = tuple(one.measurement for one in rehearse(loaded).played["double"])
    problem = ProblemMeasurement(
        problem="double", cases=cases, output="", hidden_output="", children=1
    )
    measured = Measurement(
        sandbox="none", isolation="warm", layers=(), problems=(problem,), wall_ns=0
    )
    (said,) = _failures(loaded.plan, measured)
    assert said.startswith("double.values: the solution fails it in the sandbox, and passes it out")
    assert "(wrong_value: 3 of 3 cases" in said
