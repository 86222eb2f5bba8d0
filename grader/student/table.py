"""Public results on a terminal.

Takes: a `PublicResult`. Gives: rich tables and panels. Does not cover: notebooks (see
`PublicResult._repr_html_`).
"""

import re

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from grader.student.result import (
    HIDDEN_NOTE,
    PublicCheck,
    PublicFinding,
    PublicResult,
    cause_in_words,
    finding_rows,
)

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|[\x00-\x08\x0b-\x1f\x7f]")


def print_result(result: PublicResult, console: Console) -> None:
    """Print the table, then every failure in full, then what the result means."""
    console.print(_table(result))
    shown: tuple[str, tuple[PublicFinding, ...]] = ("", ())
    for check in result.checks:
        if check.findings:
            repeated = (check.problem, check.findings) == shown
            console.print(_heading(check) if repeated else _details(check))
            shown = (check.problem, check.findings)
    for notice in result.notices:
        console.print(plain(f"note: {notice}"))
    if result.output and not result.passed:
        console.print(Text("what your code printed:", style="bold"))
        console.print(plain(result.output.rstrip()))
    console.print(Text(result.verdict, style="bold green" if result.passed else "bold red"))
    console.print(HIDDEN_NOTE)


def plain(text: str) -> Text:
    """Return text that a student's code made, without terminal control sequences or markup."""
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
        state = "passed" if check.passed else f"failed: {cause_in_words(check.cause)}"
        counts = f"{check.cases_passed}/{check.cases}"
        table.add_row(Text(shown), Text(check.title), Text(state, style=style), counts)
    return table


def _heading(check: PublicCheck) -> RenderableType:
    """Return the lines for a failure that is word for word the one above it."""
    return Group(
        Text(f"{check.problem}: {check.title}", style="bold"), Text("  the same as above"), Text("")
    )


def _details(check: PublicCheck) -> RenderableType:
    parts: list[RenderableType] = [Text(f"{check.problem}: {check.title}", style="bold")]
    if check.description:
        parts.append(Text(f"  {check.description}", style="dim"))
    for finding in check.findings:
        parts.append(plain(f"  {finding.label}"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="dim", no_wrap=True)
        grid.add_column(overflow="fold")
        for name, text in finding_rows(finding):
            grid.add_row(f"  {name}", plain(text))
        parts.append(grid)
    return Group(*parts, Text(""))
