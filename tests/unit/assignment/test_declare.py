"""`cases.py` is loaded by path; its mistakes are the author's, and named."""

import sys

import pytest

from grader.assignment.declare import CaseMaker, case, load_cases, load_folder
from grader.assignment.draw import Draw
from grader.assignment.steps import Call
from grader.errors import AuthorError

GOOD = '''
from grader.author import Call, case
from .inputs import SIZE

@case("Cache", "append", public=2, hidden=5)
def append(draw):
    """Appends."""
    yield Call("f", SIZE)

@case("Cache", "rollback")
def rollback(draw):
    yield Call("g")

NOT_A_CASE = 3
'''


def write(folder, **files):
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder


def test_cases_are_found_by_problem_and_check(tmp_path):
    cases = load_cases(write(tmp_path / "ref", cases=GOOD, inputs="SIZE = 4"))
    assert set(cases) == {("Cache", "append"), ("Cache", "rollback")}
    maker = cases["Cache", "append"]
    assert (maker.public, maker.hidden, maker.make.__doc__) == (2, 5, "Appends.")
    step = next(maker(Draw("s", ("a",), 0)))
    assert isinstance(step, Call)
    assert (step.target, step.args) == ("f", (4,))


ELSEWHERE = """
from grader.author import Call, case
from . import more

MODULES = (more,)

@case("Cache", "%s")
def first(draw):
    yield Call("f")
"""


def test_cases_of_listed_modules_are_the_assignments_too(tmp_path):
    folder = write(tmp_path / "ref", cases=ELSEWHERE % "truncate", more=GOOD, inputs="SIZE = 4")
    assert {check for _, check in load_cases(folder)} == {"truncate", "append", "rollback"}


def test_a_check_is_claimed_once_over_all_modules(tmp_path):
    folder = write(tmp_path / "ref", cases=ELSEWHERE % "append", more=GOOD, inputs="SIZE = 4")
    with pytest.raises(AuthorError, match=r"two cases for check Cache\.append"):
        load_cases(folder)


def test_two_folders_do_not_share_their_modules(tmp_path):
    one = load_cases(write(tmp_path / "one", cases=GOOD, inputs="SIZE = 1"))
    two = load_cases(write(tmp_path / "two", cases=GOOD, inputs="SIZE = 2"))
    steps = [next(cases["Cache", "append"](Draw("s", (), 0))) for cases in (one, two)]
    assert steps == [Call("f", 1), Call("f", 2)]
    assert "cases" not in sys.modules
    assert "inputs" not in sys.modules


def test_a_case_is_marked_and_still_callable():
    @case("P", "c")
    def make(draw):
        yield Call("f", draw.index)

    assert isinstance(make, CaseMaker)
    assert (make.public, make.hidden) == (1, 3)
    assert next(make(Draw("s", (), 4))) == Call("f", 4)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("def broken(:", "SyntaxError"),
        ("import no_such_module_here", "ModuleNotFoundError"),
        ("from .nowhere import x", "ModuleNotFoundError"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        (
            "from grader.author import case\n@case('P')\ndef f(draw): ...",
            "TypeError",
        ),
    ],
)
def test_a_file_that_cannot_be_imported(tmp_path, text, expected):
    folder = write(tmp_path / "ref", cases=text)
    with pytest.raises(AuthorError) as caught:
        load_cases(folder)
    assert str(folder / "cases.py") in str(caught.value)
    assert expected in str(caught.value)


def test_a_fixed_file_can_be_loaded_again(tmp_path):
    folder = write(tmp_path / "ref", cases="1 / 0")
    with pytest.raises(AuthorError):
        load_cases(folder)
    write(folder, cases="fixed = 'it is, and longer'")
    assert load_cases(folder) == {}


def test_a_missing_file(tmp_path):
    with pytest.raises(AuthorError, match=r"oracle\.py: not found") as caught:
        load_folder(tmp_path, "oracle")
    assert caught.value.hint


def test_two_cases_for_one_check(tmp_path):
    text = GOOD.replace('"rollback"', '"append"')
    with pytest.raises(AuthorError, match=r"two cases for check Cache\.append"):
        load_cases(write(tmp_path / "ref", cases=text, inputs="SIZE = 4"))
