"""A public case to look at, to paste and to run: live inputs, expectations, outcomes."""

import pytest
import torch

from grader.assignment.declare import load_solution
from grader.errors import UsageError
from grader.student.notebook import case


@pytest.fixture(autouse=True)
def here(loaded, monkeypatch):
    monkeypatch.chdir(loaded)


@pytest.fixture(scope="module")
def solved(loaded):
    return vars(load_solution(loaded / "reference" / "demo_assignment"))


def test_inputs_and_expectations_are_live():
    c = case("log_sum_exp.values", 0)
    assert c.name == "log_sum_exp.values[0]"
    x = c.arguments[0][0]
    assert isinstance(x, torch.Tensor)
    assert torch.allclose(torch.logsumexp(x.double(), -1), c.expected[0].double(), atol=1e-4)
    assert len(c.calls) == len(c.arguments)


def test_the_name_may_have_the_number_in_it():
    assert case("log_sum_exp.values[0]").name == case("log_sum_exp.values").name


def test_its_text_is_code_that_runs(solved, capsys):
    c = case("RunningLogSumExp.chunks", 0)
    names = dict(solved)
    exec(repr(c), names)
    assert names["c"].outcomes
    assert all(right for right, _ in names["c"].outcomes)
    assert "as expected" in capsys.readouterr().out


def test_it_runs_again_on_what_is_given(solved, capsys):
    c = case("log_sum_exp.values", 0)
    assert c.run(solved["log_sum_exp"]).passed
    result = c.run(lambda x: torch.logsumexp(x, -1) + 1)
    assert not result.passed
    assert {one.check for one in result.checks} == {"values"}
    assert {finding.case for one in result.checks for finding in one.findings} == {c.name}
    assert "expected" in capsys.readouterr().out


def test_a_comparison_says_what_differs(capsys):
    c = case("log_sum_exp.values", 0)
    assert not c.compare(0, c.expected[0] + 1)
    shown = capsys.readouterr().out
    for word in ("not as expected", "expected", "got", "where", "hint"):
        assert word in shown
    assert c.compare(0, c.expected[0])


def test_an_error_that_does_not_come_is_noted(capsys):
    c = case("log_sum_exp.refuses_empty_rows", 0)
    with c.raises(ValueError):
        pass
    with c.raises(ValueError) as error:
        int("no number")
    assert [right for right, _ in c.outcomes] == [False, True]
    assert "no number" in error.text
    with pytest.raises(KeyError), c.raises(ValueError):
        raise KeyError("another")


def test_buffers_are_overwritten_and_copies_are_not():
    c = case("log_sum_exp.values", 0)
    x = c.arguments[0][0]
    kept = c.copy([x])
    c.overwrite(0)
    assert (x == 77).all()
    assert not (kept[0] == 77).all()


def test_a_program_runs_on_every_rank(capsys):
    c = case("log_sum_exp.values", 0)

    def program(rank):
        with c.raises(ValueError):
            if rank == 0:
                raise ValueError("no")
        return [rank, c.gather(rank * 10)]

    assert c.on_ranks(program, 2) == [[0, 1], [[0, 10], [0, 10]]]
    assert [right for right, _ in c.outcomes] == [True, False]
    assert "rank 1: expected ValueError" in capsys.readouterr().out


def test_an_unknown_case_gets_the_nearest_names():
    with pytest.raises(UsageError, match=r"log_sum_exp\.values\[7\].*log_sum_exp\.values\[0\]"):
        case("log_sum_exp.values", 7)
    with pytest.raises(UsageError, match=r"nearest: log_sum_exp\.large_values\[0\]") as raised:
        case("log_sum_exp.large_value", 0)
    assert "log_sum_exp.refuses_empty_rows[0]" in raised.value.hint
