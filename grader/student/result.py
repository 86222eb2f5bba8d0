"""Results of public cases: the records, their JSON, and how a terminal and a notebook show them.

`student.public_run` and `student.notebook` make the results. This module must not import torch,
which takes seconds: `grader check` and `grader pack` import it first.
"""

import html
import re
from dataclasses import asdict, dataclass

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grader.assignment.table import Check
from grader.judge.judgement import Cause

PASSED_NOTE = "public tests passed"
HIDDEN_NOTE = "These are the public cases only; hidden cases decide the grade."
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFinding:
    """Why a check did not pass, as the student reads it; a text may be empty.

    Attributes:
        label: what was compared or called.
        where: position of the worst entry, or location in the student's source.
    """

    label: str
    expected: str
    got: str
    where: str
    hint: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicCheck:
    """The public result of one check.

    Attributes:
        cause: why it did not pass; NONE if it did.
        findings: empty, or the first thing that went wrong.
        description: what its cases do; empty if they were not reached.
    """

    problem: str
    check: str
    title: str
    cause: Cause
    findings: tuple[PublicFinding, ...]
    cases: int
    cases_passed: int
    description: str = ""

    @classmethod
    def not_run(
        cls, problem: str, check: Check, cause: Cause, finding: PublicFinding
    ) -> "PublicCheck":
        """Return the result of a check that something else kept from running."""
        return cls(
            problem=problem,
            check=check.name,
            title=check.title,
            cause=cause,
            findings=(finding,),
            cases=1,
            cases_passed=0,
        )

    @property
    def passed(self) -> bool:
        """Whether every public case passed."""
        return self.cause is Cause.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicResult:
    """The public result of a whole file or of one problem.

    Attributes:
        source: what was checked: a file name, or the notebook.
        notices: what the student should know about how the file was read, such as ignored cells.
        output: the end of what the student's code printed.
    """

    assignment: str
    source: str
    checks: tuple[PublicCheck, ...]
    notices: tuple[str, ...] = ()
    output: str = ""

    @property
    def passed(self) -> bool:
        """Whether every public case of every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line for the student."""
        good = sum(check.passed for check in self.checks)
        if self.passed:
            return f"{PASSED_NOTE} ({good} checks)"
        return f"{len(self.checks) - good} of {len(self.checks)} public tests failed"

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**asdict(self), "passed": self.passed, "verdict": self.verdict, "note": HIDDEN_NOTE}

    def __repr__(self) -> str:
        """Return a table in plain text."""
        width = max((len(_name(check)) for check in self.checks), default=0)
        lines = [f"{_name(check):<{width}}  {_state(check)}" for check in self.checks]
        for check in self.checks:
            for finding in check.findings:
                lines += ["", f"{_name(check)}: {check.description}", f"  {finding.label}"]
                lines += [f"  {key:<8}  {text}" for key, text in finding_rows(finding)]
        notes = [f"note: {notice}" for notice in self.notices]
        return "\n".join([*lines, *notes, "", f"{self.verdict}. {HIDDEN_NOTE}"])

    def _repr_html_(self) -> str:
        """Return a table for a notebook; every text in it is escaped."""
        rows = "".join(_html_row(check) for check in self.checks)
        head = "<tr><th>problem</th><th>check</th><th>public cases</th><th>what to know</th></tr>"
        notes = "".join(f"note: {notice}. " for notice in self.notices)
        closing = html.escape(f"{notes}{self.verdict}. {HIDDEN_NOTE}")
        return f"<table><thead>{head}</thead><tbody>{rows}</tbody></table><p>{closing}</p>"


def finding_rows(finding: PublicFinding) -> list[tuple[str, str]]:
    """Return the parts of a finding that are not empty, in reading order."""
    parts = ("expected", "got", "where", "hint")
    return [(part, getattr(finding, part)) for part in parts if getattr(finding, part)]


def cause_text(cause: Cause) -> str:
    """Return a cause as a student reads it."""
    special = {Cause.NONE: "passed", Cause.AUTHOR: "a fault of the course, not yours"}
    return special.get(cause, cause.value.replace("_", " "))


def _name(check: PublicCheck) -> str:
    return f"{check.problem}.{check.check}"


def _state(check: PublicCheck) -> str:
    if check.passed:
        return "passed"
    counts = f"{check.cases_passed} of {check.cases} cases passed"
    return f"failed: {cause_text(check.cause)} ({counts})"


def _html_row(check: PublicCheck) -> str:
    details: list[str] = []
    for finding in check.findings:
        details += [check.description, finding.label]
        details += [f"{part}: {text}" for part, text in finding_rows(finding)]
    cells = (check.problem, check.title, _state(check))
    plain = "".join(f"<td style='text-align:left'>{html.escape(cell)}</td>" for cell in cells)
    story = "<br>".join(html.escape(line) for line in details if line)
    return f"<tr>{plain}<td style='text-align:left'>{story}</td></tr>"


def print_result(result: PublicResult, console: Console) -> None:
    """Print the table, then every failure in full, then the verdict."""
    console.print(_table(result))
    shown: tuple[str, tuple[PublicFinding, ...]] = ("", ())
    for check in result.checks:
        if not check.findings:
            continue
        console.print(Text(f"{check.problem}: {check.title}", style="bold"))
        if (check.problem, check.findings) == shown:
            console.print("  the same as above")
        else:
            _print_details(check, console)
        console.print()
        shown = (check.problem, check.findings)
    for notice in result.notices:
        console.print(plain(f"note: {notice}"))
    if result.output and not result.passed:
        console.print(Text("what your code printed:", style="bold"))
        console.print(plain(result.output.rstrip()))
    console.print(Text(result.verdict, style="bold green" if result.passed else "bold red"))
    console.print(HIDDEN_NOTE)


def plain(text: str) -> Text:
    """Return text from a student's code, without terminal control sequences or markup."""
    return Text(_CONTROL.sub("", text))


def _table(result: PublicResult) -> Table:
    table = Table(title=f"{result.assignment}: public cases of {result.source}")
    for column in ("problem", "check", "result"):
        table.add_column(column, overflow="fold")
    table.add_column("cases", justify="right")
    previous = ""
    for check in result.checks:
        if previous and previous != check.problem:
            table.add_section()
        shown = check.problem if check.problem != previous else ""
        previous = check.problem
        style = "green" if check.passed else "red"
        state = "passed" if check.passed else f"failed: {cause_text(check.cause)}"
        counts = f"{check.cases_passed}/{check.cases}"
        table.add_row(Text(shown), Text(check.title), Text(state, style=style), counts)
    return table


def _print_details(check: PublicCheck, console: Console) -> None:
    if check.description:
        console.print(Text(f"  {check.description}", style="dim"))
    for finding in check.findings:
        console.print(plain(f"  {finding.label}"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in finding_rows(finding):
            grid.add_row(f"  {name}", plain(text))
        console.print(grid)
