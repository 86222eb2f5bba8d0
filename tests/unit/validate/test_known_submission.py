"""Headers of known-wrong submissions: each slip is named."""

from dataclasses import replace

import pytest

from grader.assignment.table import load_assignment
from grader.errors import AuthorError
from grader.intake.submission import Origin, SourceFile
from grader.judge.judgement import Cause
from grader.validate.known_run import without_targets
from grader.validate.known_submission import Kind, append, load_known_submissions
from tests.unit.performance.synthetic import planned
from tests.unit.validate.small_assignment import CASES, SOLUTION, make_course

HEADER = '# caught_by = "double.values"\n# cause = "wrong_value"\n'
BODY = "\ndef double(x):\n    return 3 * x\n"


def load(tmp_path, text):
    loaded = make_course(tmp_path, wrong={"triple": text})
    return {known.name: known for known in load_known_submissions(loaded)}


def text_of(known):
    (file,) = known.files
    return file.text


def test_all_kinds_are_found(tmp_path):
    found = load(tmp_path, HEADER + BODY)
    assert {name: known.kind for name, known in found.items()} == {
        "starter": Kind.STARTER,
        "solution": Kind.SOLUTION,
        "sum": Kind.RIGHT,
        "triple": Kind.WRONG,
    }
    assert found["starter"].fails == {"double.values", "double.refuses"}
    assert found["sum"].fails == frozenset()
    wrong = found["triple"]
    assert (wrong.fails, wrong.caught_by) == ({"double.values"}, "double.values")
    assert wrong.causes == {Cause.WRONG_VALUE}
    assert text_of(wrong).startswith(SOLUTION)
    assert text_of(wrong).endswith(BODY)
    submission = wrong.submission()
    assert (submission.name, submission.entry) == ("wrong-triple", "submission")
    assert submission.files == wrong.files


def test_a_specimen_may_stand_alone_and_fail_more(tmp_path):
    header = HEADER + '# base = "none"\n# also_fails = ["double.refuses"]\n'
    wrong = load(tmp_path, header + BODY)["triple"]
    assert text_of(wrong) == header + BODY
    assert wrong.fails == {"double.values", "double.refuses"}


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("", "no 'caught_by'"),
        ('# cause = "wrong_value"\n', "no 'caught_by'"),
        ('# caught_by = "double.values"\n', "no 'cause'"),
        ("# just a remark\n", "no 'caught_by'"),
        (HEADER + '# caught_by = "double.values"\n', "not TOML"),
        (HEADER + '# causes = "x"\n', "unknown header key 'causes'"),
        (HEADER + '# base = "starter"\n', '"solution" or "none", found \'starter\''),
        (HEADER + "# base = 3\n", "base: expected a string, found 3"),
        (HEADER + '# also_fails = "double.refuses"\n', "also_fails: expected a list"),
        (HEADER + "# also_fails = [1]\n", "also_fails: expected a list of strings, found [1]"),
        (HEADER + "# base = " + "9" * 5000 + "\n", "the header is not TOML"),
        (HEADER + '# also_fails = ["double.none"]\n', "no check called 'double.none'"),
        (
            HEADER + '# needs_review = ["double.refuses"]\n',
            "needs_review: expected targets that do not fail",
        ),
        (HEADER + '# needs_review = ["double.none"]\n', "found 'double.none'"),
        (HEADER.replace("double.values", "values"), "no check called 'values'"),
        (HEADER.replace("wrong_value", "wrong"), "expected one of wrong_value, wrong_error"),
        (HEADER.replace("wrong_value", "none"), "found 'none'"),
    ],
)
def test_each_slip_in_a_header_is_named(tmp_path, header, said):
    with pytest.raises(AuthorError) as caught:
        load(tmp_path, header + BODY)
    assert "triple.py" in str(caught.value)
    assert said in str(caught.value)


@pytest.mark.parametrize("missing", ["tiny/starter.py", "reference/solution.py"])
def test_starter_and_solution_must_be_there(tmp_path, missing):
    loaded = make_course(tmp_path)
    (tmp_path / missing).unlink()
    with pytest.raises(AuthorError, match="not found"):
        load_known_submissions(loaded)


TARGET = """
[[problem.target]]
name = "time"
title = "Fast"
points = 2
quantity = "time"
clock = "wall"

[problem.target.tiers."%s"]
pass_at = 2.0
full_at = 1.0
"""
WORKLOAD = """

from grader.author import workload

@workload("double", "time", sizes=(8,))
def time(draw, size):
    x = draw.normal_tensor(size)
    got = yield Call("double", x)
    yield Expect(got, lambda: 2 * x, label="double(x)")
"""


def right_with(tmp_path, misses, device="cuda:*"):
    loaded = make_course(tmp_path, cases=CASES + WORKLOAD, more=TARGET % device)
    path = loaded.reference / "right" / "sum.py"
    path.write_text(f"# misses = {misses}\n" + path.read_text())
    return {known.name: known for known in load_known_submissions(loaded)}["sum"]


def test_a_right_one_may_be_slow_on_a_device(tmp_path):
    assert right_with(tmp_path, '["double.time"]').misses == {"double.time"}


@pytest.mark.parametrize(
    ("misses", "device", "said"),
    [
        ('["double.time"]', "cpu", "without a tier for `cpu`, found 'double.time'"),
        ('["double.values"]', "cuda:*", "found 'double.values'"),
        ('"double.time"', "cuda:*", "misses: expected a list"),
    ],
)
def test_what_a_right_one_may_not_miss(tmp_path, misses, device, said):
    with pytest.raises(AuthorError, match=r"right/sum\.py") as error:
        right_with(tmp_path, misses, device)
    assert said in str(error.value)


LAUNCHER = """
[[problem.launcher]]
name = "double"
inputs = ["x_M"]
outputs = ["y_M: x_M"]
"""
CUDA_HEADER = '// caught_by = "double.values"\n// cause = "crash"\n'


def load_cuda(tmp_path, header):
    loaded = make_course(tmp_path)
    path = loaded.folder / "assignment.toml"
    text = path.read_text(encoding="utf-8")
    text = text.replace('exports = ["double"]\n', f'exports = ["double"]\n{LAUNCHER}', 1)
    path.write_text(text.replace("title =", 'languages = ["python", "cuda"]\ntitle =', 1))
    (loaded.folder / "starter.cu").write_text("// nothing yet")
    (loaded.reference / "right" / "plain.cu").write_text("int x;")
    (loaded.reference / "wrong" / "broken.cu").write_text(f"{header}\nint x")
    assignment = load_assignment(loaded.folder)
    return {one.name: one for one in load_known_submissions(replace(loaded, assignment=assignment))}


def test_specimens_in_cuda_stand_alone(tmp_path):
    found = load_cuda(tmp_path, CUDA_HEADER + '// also_fails = ["*"]\n')
    assert found["starter.cu"].kind is Kind.STARTER
    assert found["starter.cu"].fails == {"double.values", "double.refuses"}
    assert found["plain.cu"].kind is Kind.RIGHT
    wrong = found["broken.cu"]
    assert wrong.fails == {"double.values", "double.refuses"}
    assert wrong.affects == {"double"}
    assert SOLUTION not in text_of(wrong)
    submission = wrong.submission()
    assert (submission.origin, submission.files[0].name) == (Origin.CUDA, "submission.cu")


def test_targets_that_must_be_held_are_measured(tmp_path):
    loaded = make_course(
        tmp_path, wrong={"triple": HEADER + '# needs_review = ["double.target"]\n' + BODY}
    )
    (problem,) = loaded.plan.problems
    plan = replace(loaded.plan, problems=(replace(problem, targets=(planned(),)),))
    found = {one.name: one for one in load_known_submissions(replace(loaded, plan=plan))}
    assert found["triple"].needs_review == {"double.target"}
    assert without_targets(plan, found["triple"]) == plan
    unheld = replace(found["triple"], needs_review=frozenset())
    assert without_targets(plan, unheld).problems[0].targets == ()


def test_a_star_stands_for_the_checks_of_a_problem(tmp_path):
    wrong = load(tmp_path, HEADER + '# also_fails = ["double.*"]\n' + BODY)["triple"]
    assert wrong.fails == {"double.values", "double.refuses"}


def test_a_text_goes_to_the_file_that_defines_what_it_replaces():
    files = (
        SourceFile(name="submission.py", text="import math\nfrom kernels.sums import total\n"),
        SourceFile(name="kernels/sums.py", text="def _add(): ...\ndef total(): ...\n"),
    )
    for text, name in (
        ("def _add():\n    return 1\n", "kernels/sums.py"),
        ("import math\n\n\ndef _add():\n    return math.inf\n", "kernels/sums.py"),
        ("def total():\n    return 1\n", "submission.py"),
        ("def _add(): ...\ndef total():\n    return _add()\n", "submission.py"),
        ("def other(): ...\n", "submission.py"),
    ):
        changed = [b for a, b in zip(files, append(files, text), strict=True) if a != b]
        assert [(file.name, file.text.endswith(text)) for file in changed] == [(name, True)]
