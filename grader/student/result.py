"""Results of public cases: the records, their JSON, and how a terminal and a notebook show them.

`student.public_run` and `student.notebook` make the results. This module must not import torch,
which takes seconds: `grader check` and `grader pack` import it first.
"""

import html
import io
import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.table import Table
from rich.text import Text

from grader.assignment.public_cases import code_of_case, split_case_name
from grader.assignment.table import Check
from grader.judge.judgement import Cause

PASSED_NOTE = "public tests passed"
HIDDEN_NOTE = "These are the public cases only; hidden cases decide the grade."
MAX_CODE_LINES = 32
"""Longest code that is shown among other results; `grader check --show` shows all of it."""
_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")
_LEFT = "style='text-align:left'"


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicFinding:
    """Why a check did not pass, as the student reads it; a text may be empty.

    Attributes:
        label: what was compared or called.
        where: position of the first wrong entry, or location in the student's source.
        case: name of the public case; empty if it is not about one.
        steps: number of steps of that case up to the one that went wrong.
    """

    label: str
    expected: str
    got: str
    where: str
    hint: str
    case: str = ""
    steps: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicCheck:
    """The public result of one check.

    Attributes:
        cause: why it did not pass; NONE if it did.
        findings: what went wrong, case by case; bounded.
        description: what its cases do; empty if they were not reached.
        points: that the check is worth.
        code: the calls of the first case that did not pass, up to the last finding in it.
    """

    problem: str
    check: str
    title: str
    cause: Cause
    findings: tuple[PublicFinding, ...]
    cases: int
    cases_passed: int
    description: str = ""
    points: float = 0.0
    code: str = ""

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
            points=check.points,
        )

    @property
    def passed(self) -> bool:
        """Whether every public case passed."""
        return self.cause is Cause.NONE


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicResult:
    """The public result of a whole file or of some problems.

    Attributes:
        source: what was checked: a file name, or the notebook.
        notices: what the student should know about how the file was read, such as ignored cells.
        output: the end of what the student's code printed.
        other_points: points of these problems for performance, which is not measured here.
        command: the command that was typed; empty in a notebook.
    """

    assignment: str
    source: str
    checks: tuple[PublicCheck, ...]
    notices: tuple[str, ...] = ()
    output: str = ""
    other_points: float = 0.0
    command: str = "grader check"

    @property
    def passed(self) -> bool:
        """Whether every public case of every check passed."""
        return all(check.passed for check in self.checks)

    @property
    def verdict(self) -> str:
        """One line for the student."""
        good = sum(check.passed for check in self.checks)
        points = f"checks worth {_points(self.checks)} points"
        if self.passed:
            return f"{PASSED_NOTE} ({good} checks; {points})"
        failed = f"{len(self.checks) - good} of {len(self.checks)} public tests failed"
        return f"{failed} (passed: {points})"

    @property
    def note(self) -> str:
        """What the result does not say."""
        if not self.other_points:
            return HIDDEN_NOTE
        return f"{HIDDEN_NOTE} Another {self.other_points:g} points are for performance."

    def to_json(self) -> dict[str, object]:
        """Return the JSON form."""
        return {**asdict(self), "passed": self.passed, "verdict": self.verdict, "note": self.note}

    def __repr__(self) -> str:
        """Return what a terminal shows, in plain text."""
        stream = io.StringIO()
        console = Console(file=stream, width=100, color_system=None, force_jupyter=False)
        print_result(self, console)
        return "\n".join(line.rstrip() for line in stream.getvalue().splitlines())

    def _repr_html_(self) -> str:
        """Return tables for a notebook; every text in it is escaped."""
        rows = "".join(
            "<tr>" + "".join(f"<td {_LEFT}>{html.escape(cell)}</td>" for cell in row) + "</tr>"
            for row in _rows(self.checks)
        )
        head = "".join(f"<th {_LEFT}>{name}</th>" for name in _COLUMNS)
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
        cards = "".join(_html_card(group, self.command) for group in _failures(self.checks))
        verdict, note = html.escape(self.verdict), html.escape(self.note)
        notes = "".join(f"<p>note: {html.escape(notice)}</p>" for notice in self.notices)
        return f"<p><b>{verdict}</b>. {note}</p>{table}{cards}{notes}"


def with_code(
    checks: Sequence[PublicCheck], assignment: Path, *, module: str
) -> tuple[PublicCheck, ...]:
    """Return the checks with the code of their first failing case.

    Args:
        checks: the results.
        assignment: folder of the assignment.
        module: the student's module, to import from; empty in a notebook.
    """
    return tuple(
        replace(check, code=_code(check, assignment, module)) if _case_of(check) else check
        for check in checks
    )


def _case_of(check: PublicCheck) -> str:
    is_missing = check.cause is Cause.MISSING  # there is nothing to call yet
    return "" if is_missing or not check.findings else check.findings[0].case


def _code(check: PublicCheck, assignment: Path, module: str) -> str:
    case = _case_of(check)
    until = max(finding.steps for finding in check.findings if finding.case == case)
    return code_of_case(assignment, split_case_name(case), module=module, until=until)


def finding_rows(finding: PublicFinding) -> list[tuple[str, str]]:
    """Return the parts of a finding that are not empty, in reading order."""
    parts = ("expected", "got", "where", "hint")
    return [(part, getattr(finding, part)) for part in parts if getattr(finding, part)]


def cause_text(cause: Cause) -> str:
    """Return a cause as a student reads it."""
    special = {Cause.NONE: "passed", Cause.AUTHOR: "a fault of the course, not yours"}
    return special.get(cause, cause.value.replace("_", " "))


def show_text(case: str, command: str) -> str:
    """Return what shows a case: a command, or a line for a notebook."""
    if command:
        return f'{command} --show "{case}"'
    name = split_case_name(case)
    return f'case("{name.problem}.{name.check}", {name.index})'


def shorten(code: str) -> str:
    """Return code without its middle if it is long; the end is where it went wrong."""
    lines = code.splitlines()
    if len(lines) <= MAX_CODE_LINES:
        return code
    head, tail = lines[: MAX_CODE_LINES // 3], lines[-MAX_CODE_LINES // 2 :]
    return "\n".join([*head, f"# … {len(lines) - len(head) - len(tail)} lines more", *tail]) + "\n"


_COLUMNS = ("problem and check", "result", "cases", "points")


def _rows(checks: Sequence[PublicCheck]) -> Iterator[tuple[str, str, str, str]]:
    """Yield the rows of the table: a problem with its sum, then its checks if it is begun."""
    for problem, group in groupby(checks, lambda check: check.problem):
        mine = list(group)
        if all(check.cause is Cause.MISSING for check in mine):
            found = mine[0].findings[0].got
            found = found.removeprefix("a name that the problem needs is ")
            yield problem, found.split(": NotImplementedError")[0], "", _points(mine)
            continue
        good = sum(check.passed for check in mine)
        yield problem, f"{good} of {len(mine)} checks passed", "", _points(mine)
        for check in mine:
            state = "passed" if check.passed else f"failed: {cause_text(check.cause)}"
            counts = f"{check.cases_passed} of {check.cases}"
            yield f"  {check.title}", state, counts, _points([check])


def _points(checks: Sequence[PublicCheck]) -> str:
    earned = sum(check.points for check in checks if check.passed)
    return f"{earned:g} of {sum(check.points for check in checks):g}"


def _failures(checks: Sequence[PublicCheck]) -> list[list[PublicCheck]]:
    """Return the failing checks whose story must be told, together if it is the same story."""
    stories: dict[object, list[PublicCheck]] = {}
    for problem, group in groupby(checks, lambda check: check.problem):
        mine = list(group)
        if all(check.cause is Cause.MISSING for check in mine):
            continue  # one row of the table says so
        for check in mine:
            if check.findings:
                bare = tuple(replace(one, case="", steps=0) for one in check.findings)
                key = bare if not check.code else (problem, check.check)
                stories.setdefault(key, []).append(check)
    return list(stories.values())


def _by_case(check: PublicCheck) -> Iterator[tuple[str, list[PublicFinding]]]:
    """Yield the findings of each case, a hint only where it differs from the one before."""
    for case, group in groupby(check.findings, lambda finding: finding.case):
        mine = list(group)
        before = ("", *(finding.hint for finding in mine))
        yield (
            case,
            [
                replace(finding, hint="" if finding.hint == hint else finding.hint)
                for finding, hint in zip(mine, before, strict=False)
            ],
        )


def _title(group: Sequence[PublicCheck]) -> str:
    first = f"{group[0].problem}: {group[0].title}"
    more = len(group) - 1
    return f"{first}, and {more} more check{'s' * (more > 1)}" if more else first


def _html_card(group: Sequence[PublicCheck], command: str) -> str:
    check = group[0]
    parts = [f"<p><b>{html.escape(_title(group))}</b>"]
    parts += [f"<br>{html.escape(check.description)}" * bool(check.description and not group[1:])]
    for case, findings in _by_case(check):
        for finding in findings:
            parts.append(f"</p><p>{html.escape(finding.label)}</p><table>")
            parts += [
                f"<tr><td {_LEFT}>{name}</td><td {_LEFT}><code>{html.escape(text)}</code></td></tr>"
                for name, text in finding_rows(finding)
            ]
            parts.append("</table><p>")
        if check.code and case == check.findings[0].case:
            parts.append(f"</p><pre>{html.escape(shorten(check.code))}</pre><p>")
        if case:
            parts.append(f"to see it: <code>{html.escape(show_text(case, command))}</code>")
    return "".join([*parts, "</p>"])


def print_result(result: PublicResult, console: Console) -> None:
    """Print the verdict and the table, then every failure in full, then the verdict again."""
    verdict = Text(result.verdict, style="bold green" if result.passed else "bold red")
    console.print(verdict)
    console.print(_table(result))
    failures = _failures(result.checks)
    for group in failures:
        console.print(Text(_title(group), style="bold"))
        _print_details(group, result.command, console)
        console.print()
    for notice in result.notices:
        console.print(plain(f"note: {notice}"))
    _print_output("" if result.passed else result.output, console)
    if failures:
        console.print(verdict)
    console.print(result.note)


def print_case_result(result: PublicResult, console: Console) -> None:
    """Print the outcome of one case, whose code has been printed."""
    for check in result.checks:
        if check.passed:
            console.print(Text("This case passes: what you return is as expected.", style="green"))
        for finding in check.findings:
            _print_finding(finding, console)
    _print_output(result.output, console)


def _print_output(output: str, console: Console) -> None:
    if output:
        console.print(Text("what your code printed:", style="bold"))
        console.print(plain(output.rstrip()))


def plain(text: str) -> Text:
    """Return text from a student's code, without terminal control sequences or markup."""
    return Text(_CONTROL.sub("", text))


def _table(result: PublicResult) -> Table:
    table = Table(title=f"{result.assignment}: public cases of {result.source}")
    for column in _COLUMNS:
        table.add_column(column, overflow="fold")
    for name, state, *rest in _rows(result.checks):
        style = "" if name[:1] == " " else "bold"
        color = "green" if state.startswith("passed") else "red" if name[:1] == " " else ""
        table.add_row(Text(name, style=style), plain(state), *rest, style=color)
    return table


def _print_details(group: Sequence[PublicCheck], command: str, console: Console) -> None:
    check = group[0]
    if check.description and len(group) == 1:
        console.print(Text(f"  {check.description}", style="dim"))
    for case, findings in _by_case(check):
        for finding in findings:
            _print_finding(finding, console)
        if check.code and case == check.findings[0].case:
            print_code(shorten(check.code), console, indent="    ")
        if case:
            console.print(plain(f"  to see it: {show_text(case, command)}"), soft_wrap=True)


def _print_finding(finding: PublicFinding, console: Console) -> None:
    console.print(plain(f"  {finding.label}"))
    grid = Table.grid(padding=(0, 2))
    grid.add_column(style="dim", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, text in finding_rows(finding):
        grid.add_row(f"  {name}", plain(text))
    console.print(grid)


def print_code(code: str, console: Console, *, indent: str = "") -> None:
    """Print code so that it can be copied: no line is broken."""
    for line in code.splitlines():
        console.print(Text(f"{indent}{line}" if line else ""), soft_wrap=True)
