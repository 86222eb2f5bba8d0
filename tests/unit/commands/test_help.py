"""The help of every command uses the usual words of the field."""

import pytest
from typer.testing import CliRunner

from grader.commands.app import COMMANDS, build_app
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
