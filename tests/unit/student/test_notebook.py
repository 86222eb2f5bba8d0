"""`check` in a notebook: functions, classes, keywords, and the errors of a wrong call."""

from typing import Any

import pytest
import torch

from grader.errors import UsageError
from grader.judge.judgement import Cause
from grader.student.notebook import check


@pytest.fixture(autouse=True)
def here(loaded, monkeypatch):
    monkeypatch.chdir(loaded)


def my_log_sum_exp(x):
    if x.dim() == 0 or x.shape[-1] == 0:
        raise ValueError("empty")
    return torch.logsumexp(x, dim=-1)


class RunningLogSumExp:
    def __init__(self, rows):
        self.value_so_far = torch.full((rows,), -torch.inf)

    def add(self, chunk):
        self.value_so_far = torch.logaddexp(
            self.value_so_far.to(chunk.dtype), torch.logsumexp(chunk, 1)
        )

    def value(self):
        return self.value_so_far


def test_a_function_under_any_name_is_checked():
    result = check("log_sum_exp", my_log_sum_exp)
    assert result.passed
    assert "public tests passed" in result._repr_html_()


def test_exports_can_be_keywords():
    assert check("log_sum_exp", log_sum_exp=my_log_sum_exp, assignment="demo_assignment").passed


def test_a_class_is_checked():
    assert check("RunningLogSumExp", RunningLogSumExp).passed


def test_a_wrong_function_says_why():
    result = check("log_sum_exp", lambda x: x.exp().sum(-1).log())
    causes = {one.check: one.cause for one in result.checks}
    assert causes == {
        "values": Cause.NONE,
        "large_values": Cause.WRONG_VALUE,
        "refuses_empty_rows": Cause.WRONG_ERROR,
    }


def test_the_result_is_shown_and_returned(capsys):
    result = check("log_sum_exp", my_log_sum_exp)
    assert capsys.readouterr().out == repr(result) + "\n"


def log_sum_exp(x):
    return x.exp().sum(-1).log()


def test_a_function_or_a_name_alone_is_enough():
    for result in (check(log_sum_exp), check("log_sum_exp"), check(RunningLogSumExp)):
        (problem,) = {one.problem for one in result.checks}
        assert result.passed == (problem == "RunningLogSumExp")


def test_without_arguments_every_problem_is_checked(capsys):
    result = check()
    assert [one.problem for one in result.checks] == ["log_sum_exp"] * 3 + ["RunningLogSumExp"] * 2
    assert result.source == "this notebook"


def test_what_is_not_defined_takes_one_line(capsys):
    namespace: dict[str, Any] = {"check": check, "log_sum_exp": my_log_sum_exp}
    exec("result = check()", namespace)
    assert namespace["result"].checks[-1].cause is Cause.MISSING
    lines = [line for line in capsys.readouterr().out.splitlines() if "RunningLogSumExp" in line]
    assert len(lines) == 1
    assert "not defined" in lines[0]


def test_a_failing_check_shows_the_calls_and_the_line_that_opens_the_case(capsys):
    check(log_sum_exp)
    shown = capsys.readouterr().out
    assert 'c = case("log_sum_exp.large_values", 0)' in shown
    assert "c.compare(0," in shown
    assert "log_sum_exp(" in shown.partition("c.compare(0,")[2]
    assert 'to see it: case("log_sum_exp.large_values", 0)' in shown


def test_a_wrong_name_is_one_line_in_a_notebook():
    with pytest.raises(UsageError) as raised:
        check("logsumexp")
    assert "did you mean 'log_sum_exp'?" in str(raised.value)
    assert len(raised.value._render_traceback_()) == 1


def test_an_unknown_problem_lists_those_that_exist():
    with pytest.raises(UsageError, match=r"no problem 'softmaxx'.*log_sum_exp"):
        check("softmaxx", my_log_sum_exp)


@pytest.mark.parametrize("given", [{}, {"other": my_log_sum_exp}])
def test_a_call_without_the_export_shows_an_example(given):
    with pytest.raises(UsageError, match=r'check\("log_sum_exp", log_sum_exp\)'):
        exec("check('log_sum_exp', **given)", {"check": check, "given": given})
