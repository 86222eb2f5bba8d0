"""Public results as text, HTML and JSON: what the student's code wrote is text, never markup."""

import io
import json

from rich.console import Console

from grader.judge.judgement import Cause
from grader.student.result import (
    HIDDEN_NOTE,
    PublicCheck,
    PublicFinding,
    PublicResult,
    print_result,
)

HOSTILE = "<script>x</script> [red]\x1b[31m"


def check(cause=Cause.NONE, *findings):
    return PublicCheck(
        problem="KVCache",
        check="append",
        title="Append",
        cause=cause,
        findings=findings,
        cases=2,
        cases_passed=0 if findings else 2,
    )


def result(*checks):
    return PublicResult(
        assignment="demo",
        source="demo.py",
        checks=checks,
        notices=("cell 4: dropped",),
        output=HOSTILE,
    )


FINDING = PublicFinding(label="keys", expected="1", got=HOSTILE, where="entry [0]", hint="look")
FAILED = result(check(), check(Cause.WRONG_VALUE, FINDING))
PASSED = result(check())


def printed(what):
    stream = io.StringIO()
    print_result(what, Console(file=stream, width=100))
    return stream.getvalue()


def test_a_pass_speaks_of_public_tests_only():
    for text in (repr(PASSED), PASSED._repr_html_(), printed(PASSED)):
        assert "public tests passed" in text
        assert "all passed" not in text.lower()
        assert HIDDEN_NOTE in text


def test_a_failure_shows_expected_got_where_and_hint():
    for text in (repr(FAILED), FAILED._repr_html_(), printed(FAILED)):
        for word in ("wrong value", "keys", "expected", "got", "entry [0]", "hint", "look"):
            assert word in text
        assert "1 of 2 public tests failed" in text


def test_html_escapes_and_the_terminal_gets_no_control_sequences():
    assert "<script>" not in FAILED._repr_html_()
    assert "\x1b" not in printed(FAILED)
    assert "[red]" in printed(FAILED)


def test_a_repeated_failure_is_shown_once():
    twice = result(check(Cause.MISSING, FINDING), check(Cause.MISSING, FINDING))
    assert printed(twice).count("entry [0]") == 1
    assert "the same as above" in printed(twice)


def test_json_has_the_verdict():
    tree = json.loads(json.dumps(FAILED.to_json()))
    assert tree["passed"] is False
    assert tree["checks"][1]["findings"][0]["where"] == "entry [0]"
    assert tree["note"] == HIDDEN_NOTE
