"""Attack 13: leave early and hope that silence is success.

A check passes only with a reply to every planned call."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

EXITS = {
    "sys.exit": "import sys; sys.exit(0)",
    "os._exit": "import os; os._exit(0)",
    "SystemExit": "raise SystemExit",
    "closed channel": "import os; os.closerange(3, 100)",
    "killed itself": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "segfault": "import ctypes; ctypes.string_at(0)",
}


@pytest.mark.parametrize("how", EXITS)
def test_leaving_early_is_a_crash(attack: Attack, how: str) -> None:
    source = HONEST + f"\ndef scale(x, factor):\n    {EXITS[how]}\n    return x\n"
    result = attack(source)
    # As the first process of a pid namespace a submission cannot even kill itself by signal.
    expected = (Cause.CRASH, Cause.WRONG_VALUE) if how == "killed itself" else (Cause.CRASH,)
    assert result.cause("scale") in expected
    assert result.cause("Counter") is Cause.NONE


def test_leaving_at_import_fails_every_problem_that_needs_the_statement(attack: Attack) -> None:
    result = attack(HONEST + "\nimport os\nscale = os._exit(0)\n")
    assert result.cause("scale") is Cause.CRASH
    assert result.cause("Counter") is Cause.NONE, "it answers every call without that statement"
