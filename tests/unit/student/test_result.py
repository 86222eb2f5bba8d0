"""Public results as text, HTML and JSON: what the student's code wrote is text, never markup."""

import html
import io
import json
import sys
from dataclasses import replace
from types import SimpleNamespace

from rich.console import Console

from grader.judge.judgement import Cause
from grader.student.notebook import show
from grader.student.result import (
    HIDDEN_NOTE,
    PublicCheck,
    PublicFinding,
    PublicResult,
    print_result,
    shorten,
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
        points=2.0,
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
CASE = replace(FINDING, case="KVCache.append[1]", steps=2)
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
    twice = result(check(Cause.CRASH, FINDING), check(Cause.CRASH, FINDING))
    for text in (repr(twice), twice._repr_html_(), printed(twice)):
        assert text.count("entry [0]") == 1
        assert "and 1 more check" in text


def test_a_problem_that_is_not_begun_takes_one_line():
    bare = replace(FINDING, got="not implemented yet: NotImplementedError: ", where="")
    unbegun = result(*[replace(check(Cause.MISSING, bare), problem="generate")] * 7, check())
    (line,) = [line for line in printed(unbegun).splitlines() if "generate" in line]
    assert "not implemented yet" in line
    assert "0 of 14" in line
    assert printed(unbegun).count("not implemented yet") == 1
    assert len(printed(unbegun).splitlines()) < 14


def test_points_stand_beside_checks_problems_and_the_sum():
    lines = printed(FAILED).splitlines()
    assert "1 of 2 public tests failed (passed: checks worth 2 of 4 points)" in lines[0]
    assert any("KVCache" in line and "2 of 4" in line for line in lines)
    assert sum("Append" in line and "0 of 2" in line for line in lines) == 1
    words = " ".join(printed(replace(FAILED, other_points=18.0)).split())
    assert "Another 18 points are for performance" in words


def test_a_failing_case_has_its_code_and_ends_with_what_shows_it():
    failed = result(replace(check(Cause.WRONG_VALUE, CASE), code="cache = KVCache()\n"))
    typed = replace(failed, command="grader check work")
    for text in (repr(typed), html.unescape(typed._repr_html_()), printed(typed)):
        assert text.index("cache = KVCache()") < text.index("to see it:")
        assert 'grader check work --show "KVCache.append[1]"' in text
    assert 'case("KVCache.append", 1)' in repr(replace(failed, command=""))


def test_long_code_loses_its_middle_only():
    lines = [f"step({number})" for number in range(100)]
    shown = shorten("\n".join(lines)).splitlines()
    assert len(shown) < 40
    assert (shown[0], shown[-1]) == (lines[0], lines[-1])
    assert shorten("step(0)\n") == "step(0)\n"


class Shell:
    """Stands for IPython's shell: keeps what is displayed."""

    def __init__(self):
        self.execution_count = 1
        self.shown = []
        self.display_pub = self

    def publish(self, data):
        self.shown.append(data)


def test_a_notebook_shows_every_result_once(monkeypatch):
    shell = Shell()
    monkeypatch.setitem(sys.modules, "IPython", SimpleNamespace(get_ipython=lambda: shell))
    first = show(FAILED)
    show(PASSED)
    first._ipython_display_()  # as the last expression of the same cell
    assert [data["text/html"] for data in shell.shown] == [
        FAILED._repr_html_(),
        PASSED._repr_html_(),
    ]
    shell.execution_count = 2
    first._ipython_display_()
    assert len(shell.shown) == 3
    assert first.checks == FAILED.checks


def test_plain_python_prints_a_result_once(monkeypatch, capsys):
    shown = show(FAILED)
    assert capsys.readouterr().out == repr(FAILED) + "\n"
    print(shown)  # as older handouts say
    assert len(capsys.readouterr().out.splitlines()) == 1
    monkeypatch.setattr(sys, "ps1", ">>> ", raising=False)
    assert repr(show(FAILED)) == repr(FAILED)  # which the prompt shows by itself
    assert not capsys.readouterr().out


def test_json_has_the_verdict():
    tree = json.loads(json.dumps(FAILED.to_json()))
    assert tree["passed"] is False
    assert tree["checks"][1]["findings"][0]["where"] == "entry [0]"
    assert tree["note"] == HIDDEN_NOTE
