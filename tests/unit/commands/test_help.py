"""The help of every command uses the usual words of the field."""

import importlib
import sys

import pytest
from typer.testing import CliRunner

import grader
from grader.commands.app import (
    AUTHOR_EXTRAS,
    COMMANDS,
    FOR_AUTHORS,
    FOR_STUDENTS,
    GRADING_EXTRAS,
    build_app,
)
from tests.old_words import find_old_words

SUBCOMMANDS = {"bench": ("verdicts",), "image": ("build", "check")}
CALLS = (
    (),
    *((name,) for name in COMMANDS),
    *((name, sub) for name, subs in SUBCOMMANDS.items() for sub in subs),
)


def help_of(*call: str) -> str:
    app = build_app(call[0] if call else "")
    done = CliRunner().invoke(app, [*call, "--help"], env={"COLUMNS": "200", "TERM": "dumb"})
    assert done.exit_code == 0, done.output
    return done.output


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_help_has_no_old_word(call: tuple[str, ...]) -> None:
    text = help_of(*call)
    assert "Usage:" in text
    assert find_old_words(text) == [], text


def test_an_old_word_would_be_found() -> None:
    text = "Try which walls this machine gives; warm: one warm process; wall time in seconds."
    assert [found.partition(":")[0] for found in find_old_words(text)] == ["wall", "warm process"]


def test_students_commands_come_first():
    text = help_of()
    assert "For students" in text
    assert [name for name in COMMANDS if name in FOR_STUDENTS] == list(COMMANDS)[
        : len(FOR_STUDENTS)
    ]
    assert text.index("For students") < text.index(" pack ") < text.index("For course staff")
    assert "what else to install" not in text


@pytest.fixture
def light(monkeypatch):
    """As in a student's installation: no package that only the staff needs, nothing imported."""
    for package in (*GRADING_EXTRAS, *AUTHOR_EXTRAS):
        monkeypatch.setitem(sys.modules, package, None)
    for name in [name for name in sys.modules if name.startswith("grader.")]:
        part = name.removeprefix("grader.")
        if "." not in part:  # so that the package has its parts of before again, too
            monkeypatch.setattr(grader, part, sys.modules[name])
        monkeypatch.delitem(sys.modules, name)


def called(monkeypatch, capsys, *words):
    monkeypatch.setattr(sys, "argv", ["grader", *words])
    with pytest.raises(SystemExit) as ended:
        importlib.import_module("grader.commands.app").main()
    printed = capsys.readouterr()
    return ended.value.code, printed.out + printed.err


STAFF = sorted(COMMANDS.keys() - {*FOR_STUDENTS})


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("grade", ("kv_cache", "x", "--out", "o", "--jobs=2")),
        ("grade", ("--help",)),
        ("validate", ("kv_cache",)),
        ("release", ("kv_cache",)),
        ("report", ("o",)),
        ("image", ("build", "--base", "x")),
        ("doctor", ()),
    ],
)
def test_a_light_installation_says_what_a_staff_command_needs(
    light, monkeypatch, capsys, name, words
):
    code, printed = called(monkeypatch, capsys, name, *words)
    assert code == 2
    extra = "author" if name in FOR_AUTHORS else "grade"
    assert f"`grader {name}` needs llm-systems-grader[{extra}]" in printed
    assert f'python -m pip install "llm-systems-grader[{extra}]"' in printed


def test_a_light_installation_lists_students_commands_only(light, monkeypatch, capsys):
    code, printed = called(monkeypatch, capsys, "--help")
    assert code == 0
    listed = {line.split()[1] for line in printed.splitlines() if line.startswith("│ ")}
    assert {*FOR_STUDENTS} <= listed
    assert not listed & {*STAFF}
    assert "`grader grade` says what else to install" in printed
