"""The watched interpreter: endless loops, crashes and broken modules cost their problem alone."""

import dataclasses
import io
import shutil
import time

import pytest

from grader.assignment.table import Limits, load_assignment
from grader.errors import SandboxError
from grader.intake.submission import CellLine, Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.student.public_run import (
    Event,
    EventKind,
    _Ending,
    _stopped,
    _Watch,
    run_public,
    to_line,
)

ENDLESS = """
def log_sum_exp(x):
    while x.dim():
        pass
"""
EXITING = """
import os
def log_sum_exp(x):
    print("leaving now", flush=True)
    os._exit(3)
"""


def run(assignment, text, *, cells=(), further=(), **limits):
    table = load_assignment(assignment)
    table = dataclasses.replace(table, limits=dataclasses.replace(table.limits, **limits))
    file = SourceFile(name="work.py", text=text, cell_lines=cells)
    submission = Submission(
        name="me",
        sha256="",
        origin=Origin.MODULE,
        entry="work",
        files=(file, *further),
        allowed_imports=table.allowed_imports,
    )
    return run_public(submission, assignment, table, table.problems, source="mine.py")


def causes(result, problem):
    return [check.cause for check in result.checks if check.problem == problem]


def test_the_solution_passes(assignment, solution):
    result = run(assignment, "print('loaded')\n" + solution)
    assert result.passed
    assert len(result.checks) == 5
    assert result.output.strip() == "loaded"


def test_an_endless_loop_costs_its_problem_alone(assignment, solution):
    result = run(assignment, solution + ENDLESS, call_wall_s=0.5)
    assert causes(result, "log_sum_exp") == [Cause.TIMEOUT] * 3
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2
    first, second = result.checks[0].findings[0], result.checks[1].findings[0]
    assert first.got == "no reply within 0.5 s"
    assert "log_sum_exp" in first.where
    assert second.hint == "Fix values first."


@pytest.mark.parametrize(("waited_s", "compile_s"), [(65, 60.0), (5, 0.0)])
def test_compiling_has_time_of_its_own(assignment, waited_s, compile_s):
    table = load_assignment(assignment)
    check = table.problems[0].checks[0]
    step = Event(kind=EventKind.STEP, problem="p", check=check.name, doing="f()")
    limits = Limits(call_wall_s=4.0, compile_wall_s=compile_s)
    since = time.monotonic()
    watch = _Watch(limits=limits, events=io.BytesIO(), results=[], notices=[])
    watch.last, watch.event_since = step, since - waited_s
    late = watch.overrun()
    assert late.startswith(f"no reply within {4 + compile_s:g} s")
    ending = _Ending(cause=Cause.TIMEOUT, last=step, detail=late)
    hint = _stopped(table.problems[0], check, ending, "").findings[0].hint
    assert ("loop" in hint) == (compile_s == 0)
    watch.event_since = since - compile_s
    assert watch.overrun() == ""


def test_only_what_the_submission_is_asked_for_counts_towards_its_limits(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])
    limits = Limits(call_wall_s=4.0, problem_wall_s=6.0, compile_wall_s=0.0)
    lines = io.BytesIO()
    watch = _Watch(limits=limits, events=lines, results=[], notices=[])

    def tell(doing, seconds):
        end = lines.tell()
        lines.write(to_line(Event(kind=EventKind.STEP, problem="p", doing=doing)).encode())
        lines.seek(end)
        watch.update()
        clock[0] += seconds
        return watch.overrun()

    assert tell("f(…)", 3.0) == ""
    assert tell("Expect", 60.0) == ""  # an oracle that takes its time
    assert tell("f(…)", 2.9) == ""
    assert tell("f(…)", 0.2) == "the problem took more than 6 s"
    assert tell("f(…)", 4.1) == "no reply within 4 s"


@pytest.mark.slow
def test_an_exit_costs_its_problem_alone(assignment, solution):
    result = run(assignment, solution + EXITING)
    assert causes(result, "log_sum_exp") == [Cause.CRASH] * 3
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2
    assert "exit code 3" in result.checks[0].findings[0].got
    assert "leaving now" in result.checks[0].findings[0].hint


def test_what_raises_at_the_top_costs_only_what_needs_it(assignment, solution):
    lost = "from helpers import make\nlog_sum_exp = make()\nraise SystemExit('bye')\n1 / 0\n"
    result = run(assignment, solution.replace("def log_sum_exp", "def gone") + lost)
    assert causes(result, "log_sum_exp") == [Cause.CRASH] * 3
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2
    finding = result.checks[0].findings[0]
    sentence = "No module named 'helpers' where work is graded"
    assert finding.label == "loading your file"
    assert finding.got.startswith(f"ModuleNotFoundError: {sentence}")
    assert finding.got.endswith("so make, log_sum_exp are not defined")
    assert finding.where.startswith("mine.py, line ")
    assert len(result.notices) == 3
    assert "SystemExit: bye" in result.notices[1]


@pytest.mark.slow
def test_a_load_that_does_not_end_costs_only_what_needs_it(assignment, solution):
    text = solution.replace("def log_sum_exp", "def gone")
    endless = "log_sum_exp = 0\nwhile True:\n    log_sum_exp = gone\n"
    result = run(assignment, text + endless, load_wall_s=2.0)
    assert causes(result, "log_sum_exp") == [Cause.TIMEOUT] * 3
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2
    (notice,) = result.notices
    assert "each problem was tried with only the statements that it needs" in notice


@pytest.mark.slow
@pytest.mark.parametrize(
    ("text", "got", "where"),
    [("x = 1\ndef f(:\n", "SyntaxError", "mine.py, line 2")],
)
def test_a_module_that_does_not_load_fails_everywhere_with_its_line(assignment, text, got, where):
    result = run(assignment, text)
    assert {check.cause for check in result.checks} == {Cause.CRASH}
    finding = result.checks[0].findings[0]
    assert got in finding.got
    assert finding.where == where


@pytest.mark.slow
def test_a_submission_sees_no_variables_of_this_machine(assignment, solution, monkeypatch):
    monkeypatch.setenv("MY_DATA", "/data")
    text = "import os\nassert 'USER' not in os.environ\nos.environ['MY_DATA']\n"
    result = run(assignment, f"{text}assert os.path.expanduser('~') == os.getcwd()\n{solution}")
    assert result.passed
    (notice,) = result.notices
    assert notice.startswith("mine.py, line 3: loading the file: KeyError: 'MY_DATA'")


def test_lines_of_files_that_cells_wrote_are_named_by_cell(assignment, solution):
    names = ("In [1]", "In [2]")
    written = SourceFile(
        name="shapes.py",
        text="1 / 0\n",
        cell_lines=(CellLine(cell=2, line=2),),
        cell_names=names,
    )
    result = run(assignment, f"import shapes\n{solution}", further=(written,))
    assert result.notices[0].startswith("In [2], line 2: loading the file: ZeroDivisionError")


def test_lines_of_a_notebook_are_named_by_cell(assignment):
    text = "import torch\ndef log_sum_exp(x):\n    return x.nothing\n"
    cells = (CellLine(cell=2, line=1), CellLine(cell=5, line=1), CellLine(cell=5, line=2))
    result = run(assignment, text, cells=cells)
    assert result.checks[0].findings[0].where == "cell 5, line 2"
    assert causes(result, "RunningLogSumExp") == [Cause.MISSING] * 2


@pytest.mark.slow
def test_loading_has_a_limit(assignment):
    endless = "while True:\n    log_sum_exp = RunningLogSumExp = 1\n"
    result = run(assignment, endless, load_wall_s=0.5)
    assert {check.cause for check in result.checks} == {Cause.TIMEOUT}
    assert result.checks[0].findings[0].where == "while your file was loaded"


@pytest.mark.slow
def test_what_a_problem_denies_is_refused_as_in_grading(assignment, solution, tmp_path):
    copy = tmp_path / assignment.name
    shutil.copytree(assignment, copy)
    table = copy / "assignment.toml"
    denied = 'denied = ["aten::logsumexp", "torch.nn.parallel"]'
    table.write_text(f"{denied}\n{table.read_text()}")
    own = solution.replace("def log_sum_exp", "def own")
    text = "import torch\ndef log_sum_exp(x):\n    return torch.logsumexp(x, dim=-1)\n"
    result = run(copy, own + text)
    assert Cause.FORBIDDEN in causes(result, "log_sum_exp")
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2
    found = [one for one in result.checks if one.cause is Cause.FORBIDDEN]
    assert "is denied in the problem log_sum_exp" in found[0].findings[0].got
    assert found[0].findings[0].where == f"mine.py, line {own.count(chr(10)) + 3}"
    assert run(copy, solution).passed


def denying(assignment, tmp_path):
    """Return a copy of the assignment whose problems deny one operator."""
    copy = tmp_path / assignment.name
    shutil.copytree(assignment, copy)
    table = copy / "assignment.toml"
    table.write_text(f'denied = ["aten::logsumexp"]\n{table.read_text()}')
    return copy


@pytest.mark.slow
def test_what_is_compared_afterwards_is_told_the_same(assignment, solution, tmp_path):
    """Wrong values, a wrong form and a wrong error: with a denial as without."""
    wrong = """
_right = log_sum_exp
def log_sum_exp(x):
    if x.shape[-1] == 0:
        return x
    return _right(x) + 1 if x.dim() > 1 else [_right(x)]
"""
    plain = run(assignment, solution + wrong)
    denied = run(denying(assignment, tmp_path), solution + wrong)
    assert [one.cause for one in denied.checks] == [one.cause for one in plain.checks]
    assert [one.findings for one in denied.checks] == [one.findings for one in plain.checks]
    assert Cause.WRONG_VALUE in causes(denied, "log_sum_exp")


@pytest.mark.slow
def test_an_endless_loop_costs_no_earlier_check_of_a_problem_that_denies(
    assignment, solution, tmp_path
):
    endless = """
_right = log_sum_exp
def log_sum_exp(x):
    while x.shape[-1] == 0:
        pass
    return _right(x)
"""
    result = run(denying(assignment, tmp_path), solution + endless, call_wall_s=2.0)
    assert causes(result, "log_sum_exp") == [Cause.NONE, Cause.NONE, Cause.TIMEOUT]
    assert causes(result, "RunningLogSumExp") == [Cause.NONE] * 2


@pytest.mark.slow
def test_damaged_public_cases_are_not_the_students_fault(assignment, solution, tmp_path):
    copy = tmp_path / assignment.name
    copy.mkdir()
    (copy / "assignment.toml").write_bytes((assignment / "assignment.toml").read_bytes())
    with pytest.raises(SandboxError, match="not found"):
        run(copy, solution)
