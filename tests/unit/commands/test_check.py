"""`grader check`: how it names what it checks, and code that can be pasted."""

import io
from pathlib import Path

import pytest
from rich.console import Console

from grader.commands.check import display_name
from grader.intake.submission import Origin, SourceFile, Submission
from grader.student.oversights import find_misnamed
from grader.student.result import print_code
from grader.student.work import Work


def submission(text: str = "", graded_file: str = "") -> Submission:
    return Submission(
        name="me",
        sha256="",
        origin=Origin.MODULE,
        entry="demo",
        files=(SourceFile(name="demo.py", text=text),),
        graded_file=graded_file,
    )


@pytest.mark.parametrize(
    ("path", "graded_file", "name"),
    [
        ("demo.ipynb", "demo.ipynb", "demo.ipynb"),
        ("work.zip", "src/demo.ipynb", "demo.ipynb"),
        ("work.zip", "demo.py", "demo.py"),
        ("work.zip", "", "demo.py"),
    ],
)
def test_a_zip_is_named_by_the_file_in_it(path: str, graded_file: str, name: str) -> None:
    work = Work(path=Path(path), slug="demo")
    assert display_name(work, submission(graded_file=graded_file)) == name


def test_code_is_printed_as_it_is_and_no_line_is_broken() -> None:
    stream = io.StringIO()
    code = "for x in y:\n    f(x)\n\n" + "z" * 200 + "\n"
    print_code(code, Console(file=stream, width=80))
    assert stream.getvalue() == code


def test_a_name_that_is_there_under_another_is_told_and_no_other() -> None:
    (one,) = find_misnamed(submission("def logSumExp(): ...\n"), ["log_sum_exp", "Cache"])
    assert one.startswith("log_sum_exp is not defined in your file")
    assert one.endswith("did you mean logSumExp, which is? Rename it")
    assert find_misnamed(submission("from m import *\n"), ["log_sum_exp"]) == ()
