"""`equivalent.toml`: what it may say, and what is told of an entry that is not true."""

import pytest

from grader.errors import AuthorError
from grader.intake.submission import SourceFile
from grader.mutate.edits import Operator
from grader.mutate.equivalent import FILE, complain, read_equivalents
from grader.mutate.mutants import make_mutants
from grader.mutate.outcome import Fate, Outcome

TEXT = "def f(a):\n    return -a\n"
MADE = make_mutants((SourceFile(name="submission.py", text=TEXT),), ["f"], shown="solution.py")
NAME = "solution.py: f: sign: return -a -> return a"


def entries(tmp_path, text):
    (tmp_path / FILE).write_text(text)
    return read_equivalents(tmp_path)


def outcome(fate, why=""):
    return Outcome(
        name=NAME,
        file="solution.py",
        line=2,
        function="f",
        operator=Operator.SIGN,
        before="return -a",
        after="return a",
        fate=fate,
        killed_by="f.values, hidden case 0 (wrong_value)" if fate is Fate.KILLED else "",
        why=why,
    )


def test_no_file_has_no_entries(tmp_path):
    assert read_equivalents(tmp_path).whys == {}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[mutant]", "expected TOML"),
        ('[[mutant]]\nname = "a"\n', "why"),
        ('[[mutant]]\nname = "a"\nwhy = " "\n', "expected a sentence"),
        ('[[mutants]]\nname = "a"\nwhy = "b"\n', "mutants"),
        ('[[mutant]]\nname = 1\nwhy = "b"\n', "name"),
        ('[[mutant]]\nname = "a"\nwhy = "b"\n' * 2, "expected one entry, found two"),
    ],
)
def test_a_mistake_in_the_file_is_told(tmp_path, text, said):
    with pytest.raises(AuthorError, match=said):
        entries(tmp_path, text)


def test_an_entry_without_a_mutant_is_a_complaint(tmp_path):
    found = entries(tmp_path, '[[mutant]]\nname = "gone"\nwhy = "b"\n')
    (said,) = complain(found, MADE, [])
    assert "there is no such mutant: gone" in said


def test_a_function_without_mutants_is_a_complaint(tmp_path):
    found = entries(tmp_path, '[[function]]\nname = "solution.py: g"\nwhy = "b"\n')
    (said,) = complain(found, MADE, [])
    assert "solution.py: g" in said
    assert complain(entries(tmp_path, found_text("solution.py: f")), MADE, []) == []


def found_text(name):
    return f'[[function]]\nname = "{name}"\nwhy = "b"\n'


def test_an_entry_of_a_killed_mutant_is_a_complaint(tmp_path):
    found = entries(tmp_path, f'[[mutant]]\nname = "{NAME}"\nwhy = "b"\n')
    (said,) = complain(found, MADE, [outcome(Fate.KILLED, why="b")])
    assert said.endswith("f.values, hidden case 0 (wrong_value) kills it")
    assert complain(found, MADE, [outcome(Fate.EQUIVALENT, why="b")]) == []


@pytest.mark.parametrize("fate", [Fate.SURVIVED, Fate.NOT_RUN])
def test_a_survivor_without_an_entry_is_a_complaint(tmp_path, fate):
    (said,) = complain(read_equivalents(tmp_path), MADE, [outcome(fate)])
    assert said.endswith(NAME)
