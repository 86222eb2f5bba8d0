"""`grader validate --mutate`: plays mutants of the right submissions and prints what survives."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from grader.assignment.folders import find_reference

if TYPE_CHECKING:
    from grader.mutate.outcome import MutationReport, Outcome

SEED = "mutants"
"""Seed of the hidden cases, if none is given: a run can be repeated, and entries stay true."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What the command line asks for; `hunt.Options` says what each means.

    Attributes:
        seed: of the hidden cases; `SEED` if empty.
    """

    jobs: int
    sample: int
    turn: int
    problem: str
    seed: str


def mutate_all(
    folders: Sequence[Path],
    asked: Asked,
    *,
    reference: Path | None,
    json_file: Path | None,
    console: Console,
) -> None:
    """Play the mutants of assignments and print a table and the survivors of each.

    Raises:
        AuthorError: if a right submission fails a case, or `equivalent.toml` has a mistake.
        UsageError: if no assignment has the problem.
        Exit: with code 1 if there is a complaint.
    """
    from grader.record.grade_record import to_json

    reports = [_mutate(folder, asked, reference, console) for folder in folders]
    if json_file is not None:
        text = json.dumps([json.loads(to_json(report)) for report in reports], indent=2)
        json_file.write_text(text, encoding="utf-8")
    if any(report.complaints for report in reports):
        raise typer.Exit(1)


def _mutate(
    folder: Path, asked: Asked, reference: Path | None, console: Console
) -> "MutationReport":
    from grader.assignment.loaded import load_assignment_with_reference
    from grader.mutate.hunt import Options, hunt

    loaded = load_assignment_with_reference(
        folder, find_reference(folder.name, reference), device="cpu", seed=asked.seed or SEED
    )
    options = Options(jobs=asked.jobs, problem=asked.problem, sample=asked.sample, turn=asked.turn)
    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"mutants of {loaded.assignment.slug}", total=None)

        def tell(outcome: "Outcome", count: int) -> None:
            progress.update(task, advance=1, total=count)

        report = hunt(loaded, options, on_outcome=tell)
    print_mutation(report, console)
    return report


def print_mutation(report: "MutationReport", console: Console) -> None:
    """Print a row for each operator, then each survivor, then what is wrong with entries."""
    right = [Column(name, justify="right") for name in ("made", "killed", "equivalent", "left")]
    title = f"{report.assignment}: mutants of right submissions"
    table = Table("what is changed", *right, title=title)
    for name, *counts in report.rows():
        table.add_row(name, *map(str, counts), end_section=name == "all")
    console.print(table)
    for one in report.survivors:
        console.print(
            f"{one.fate.value}: {one.file}, line {one.line} ({one.function})", markup=False
        )
        console.print(f"  - {one.before}\n  + {one.after}", markup=False, highlight=False)
        if one.confused:
            console.print(f"  the case itself fails on it: {one.confused[0]}", markup=False)
    own = report.complaints[: len(report.complaints) - len(report.survivors)]
    for complaint in own:
        console.print(f"COMPLAINT {complaint}", style="red", markup=False)
    count = len(report.complaints)
    verdict = f"{count} complaint{'s' * (count > 1)}" if count else "sound"
    console.print(
        f"{report.assignment}: {len(report.outcomes)} of {report.made} mutants, {report.cases} "
        f"cases, {report.wall_s:.0f} s: {verdict} (--seed {report.seed} --turn {report.turn})",
        style="bold",
        markup=False,
    )
