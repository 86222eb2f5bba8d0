"""`grader validate`: check assignments against known-right and known-wrong submissions.

All tables are read before torch is imported, so that a typo in one is told at once.
"""

import json
import os
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Column, Table

from grader.assignment.folders import find_assignment, find_reference, list_assignments
from grader.assignment.table import load_assignment
from grader.commands.listing import (
    AssignmentsOption,
    DeviceOption,
    ImageOption,
    ReferenceOption,
    SandboxOption,
)
from grader.sandbox.image import DEFAULT_IMAGE

if TYPE_CHECKING:  # these import torch
    from grader.assignment.loaded import LoadedAssignment
    from grader.batch import BatchOptions
    from grader.validate.coverage import Coverage
    from grader.validate.kill_matrix import Validation
    from grader.validate.known_submission import KnownSubmission
    from grader.validate.ledger import LedgerRow
    from grader.validate.seed_vetting import SeedRuns
    from grader.validate.triviality import TrivialResult
    from grader.validate.validate import ValidationReport

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
TODAY = date.today().toordinal()
SLOW_SECONDS = 30.0
"""A known submission that takes longer is named: it may wait for something needlessly."""
NEAREST = 3
"""How many checks are printed with their largest error: those nearest to their tolerance."""


def command(
    slugs: Annotated[list[str] | None, typer.Argument(help="Assignments; default: all.")] = None,
    device: DeviceOption = "auto",
    sandbox: SandboxOption = "auto",
    jobs: Annotated[
        int, typer.Option(min=1, show_default="one per core", help="Submissions at a time.")
    ] = CORES,
    assignments: AssignmentsOption = None,
    reference: ReferenceOption = None,
    image: ImageOption = DEFAULT_IMAGE,
    seed: Annotated[str, typer.Option(help="Seed of the hidden cases; default: a new one.")] = "",
    seeds: Annotated[
        int,
        typer.Option(min=0, help="Further seeds under which the solution must pass its checks."),
    ] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Also write the result as JSON.")
    ] = None,
    mutate: Annotated[
        bool,
        typer.Option("--mutate", help="Play mutants of the right submissions, and nothing else."),
    ] = False,
    sample: Annotated[
        int, typer.Option(min=0, help="With --mutate: play so many of them. 0: all.")
    ] = 0,
    turn: Annotated[
        int, typer.Option(show_default="today", help="Which sample: each turn plays others.")
    ] = TODAY,
    problem: Annotated[
        str, typer.Option(metavar="NAME", help="With --mutate: only the cases of this problem.")
    ] = "",
) -> None:
    """Check an assignment against its known-right and known-wrong submissions.

    Prints which check catches which wrong submission. Exit code 1 if something must be fixed.
    """
    folders = _read_tables(slugs, assignments)
    console = Console()
    if mutate:
        from grader.commands.mutation import Asked, mutate_all

        asked = Asked(jobs=jobs, sample=sample, turn=turn, problem=problem, seed=seed)
        mutate_all(folders, asked, reference=reference, json_file=json_file, console=console)
        return
    from grader.assignment.loaded import load_assignment_with_reference, new_seed
    from grader.batch import BatchOptions
    from grader.commands.timing import class_of, open_drivers, timed_machine
    from grader.record.grade_record import to_json
    from grader.sandbox.backends import choose
    from grader.sandbox.contract import Isolation

    validations = []
    with open_drivers(device) as drivers:
        for folder in folders:
            loaded = load_assignment_with_reference(
                folder,
                find_reference(folder.name, reference),
                device=class_of(drivers),
                seed=seed or new_seed(),
            )
            options = BatchOptions(
                sandbox=choose(sandbox, image),
                isolation=Isolation.WARM,
                jobs=jobs,
                image=image,
                force=False,
                machine=timed_machine(loaded, drivers, console),
            )
            validations.append(_validate(loaded, options, console, seeds=seeds))
            print_validation(validations[-1], console)
    if json_file is not None:
        json_file.write_text(
            json.dumps([json.loads(to_json(report)) for report in validations], indent=2),
            encoding="utf-8",
        )
    if any(report.validation.complaints for report in validations):
        raise typer.Exit(1)


def _read_tables(slugs: list[str] | None, assignments: Path | None) -> tuple[Path, ...]:
    """Return the folders of the assignments that are to be validated.

    Raises:
        AuthorError: if the table of one of them has a mistake.
    """
    folders = tuple(find_assignment(slug, assignments) for slug in slugs or ())
    folders = folders or list_assignments(assignments)
    for folder in folders:
        load_assignment(folder)
    return folders


def _validate(
    loaded: "LoadedAssignment", options: "BatchOptions", console: Console, *, seeds: int
) -> "ValidationReport":
    """Validate one assignment with a progress bar."""
    from grader.batch import make_builder, open_sandboxes
    from grader.validate.rehearsal import rehearse_twice
    from grader.validate.validate import stopped, validate_assignment

    with Progress(console=console, transient=True) as progress:
        task = progress.add_task(f"validating {loaded.assignment.slug}", total=None)
        rehearsal = rehearse_twice(loaded)
        if rehearsal.causes:
            return stopped(loaded, rehearsal.causes)

        def tell(known: "KnownSubmission", seconds: float) -> None:
            progress.advance(task)
            if seconds > SLOW_SECONDS:
                name = f"{known.kind.value}/{known.name}"
                console.print(f"{name} took {seconds:.0f} s", style="dim", markup=False)

        with (
            open_sandboxes(loaded, options) as sandboxes,
            closing(make_builder(loaded, options)) as builder,
        ):
            return validate_assignment(
                loaded,
                rehearsal,
                sandboxes,
                jobs=options.jobs,
                seeds=seeds,
                on_known=tell,
                machine=options.machine,
                builder=builder,
            )


def print_validation(report: "ValidationReport", console: Console) -> None:
    """Print scores, the kill matrix, the trivial submissions, the ledger and the complaints.

    If the solution failed, print why, and nothing else.
    """
    validation = report.validation
    if validation.known_submissions:
        console.print(_scores(validation))
        console.print(_matrix(validation))
        console.print(_trivial(report.trivial))
        for covered in report.coverage:
            console.print(_coverage(covered))
    if report.ledger.rows:
        console.print(_ledger(report.ledger.rows))
    if report.further.seeds:
        console.print(_margins(report.further), markup=False)
    for one in report.unvalidated:
        console.print(f"NOT VALIDATED HERE {one}", style="yellow", markup=False)
    for complaint in validation.complaints:
        console.print(f"COMPLAINT {complaint}", style="red", markup=False)
    verdict = "sound"
    if validation.complaints:
        count = len(validation.complaints)
        verdict = f"{count} complaint{'s' * (count > 1)}"
        if not validation.known_submissions:
            verdict = "the solution fails, so nothing else was run"
        verdict += f" (repeat this run with --seed {report.seed})"
    console.print(f"{validation.assignment}: {verdict}", style="bold", markup=False)


def _margins(further: "SeedRuns") -> str:
    """Return a sentence on how near the solution's errors come to the tolerances."""
    nearest = sorted(further.largest.items(), key=lambda one: -one[1])[:NEAREST]
    shares = ", ".join(f"{check} {share:.0%}" for check, share in nearest)
    return (
        f"solution under {len(further.seeds)} further seeds: {len(further.rejected_seeds)} checks "
        f"failed; largest errors, relative to the tolerance: {shares or 'no tolerances'}"
    )


def _scores(validation: "Validation") -> Table:
    """Return one row for each known submission: its score, its cost, and what it fails."""
    from grader.validate.known_submission import Kind

    title = f"{validation.assignment}: known submissions"
    table = Table("submission", "score", Column("CPU s", justify="right"), "fails", title=title)
    for result in validation.known_submissions:
        names = [f"{name} ({cause.value})" for name, cause in result.failed]
        fails = ", ".join([*names, *(f"{name} (needs review)" for name in result.needs_review)])
        if result.kind is Kind.STARTER:
            causes = sorted({cause.value for _, cause in result.failed})
            fails = f"{len(result.failed)} checks ({', '.join(causes)})"
        score = f"{result.percent:.0f} %" if result.max_score else "needs a device"
        table.add_row(f"{result.kind.value}/{result.name}", score, f"{result.cpu_s:.1f}", fails)
    return table


def _matrix(validation: "Validation") -> Table:
    table = Table(
        "check", "caught by it alone", "also caught", title=f"{validation.assignment}: kill matrix"
    )
    for result in validation.checks:
        others = [name for name in result.catches if name not in result.alone]
        alone = ", ".join(result.alone) or "NOTHING"
        table.add_row(result.check, alone, ", ".join(others))
    return table


def _trivial(results: "tuple[TrivialResult, ...]") -> Table:
    from grader.validate.triviality import Trivial

    table = Table("problem", *(kind.value for kind in Trivial), title="trivial submissions")
    notes: dict[str, None] = {}
    for problem in dict.fromkeys(result.problem for result in results):
        cells = []
        for result in (r for r in results if r.problem == problem):
            if not result.applied:
                notes[f"n/a, {result.trivial.value}: {result.note}"] = None
            cells.append("n/a" if not result.applied else "fails" if result.caught else "PASSES")
        table.add_row(problem, *cells)
    table.caption = "\n".join(notes)
    return table


WAYS = {1: "levels", 2: "pairs", 3: "triples"}


def _coverage(one: "Coverage") -> Table:
    """Return the levels of each factor; below them, what of their combinations is covered."""
    checks = ", ".join(one.checks)
    table = Table("factor", "levels", title=f"{one.problem}: factors of {checks}")
    for factor, levels in one.levels.items():
        table.add_row(escape(factor), escape(", ".join(levels)))
    lines = [
        f"{WAYS.get(count.strength, f'combinations of {count.strength}')}: {count.allowed:,} of "
        f"{count.possible:,} allowed, {count.covered:,} covered"
        for count in one.counted
    ]
    lines += [f"in {one.rows} rows" + (f"; strength: {one.reason}" if one.reason else "")]
    lines += [f"excluded, {count.combinations:,}: {count.reason}" for count in one.excluded]
    table.caption = escape("\n".join(lines))
    return table


def _ledger(rows: "tuple[LedgerRow, ...]") -> Table:
    """Return counts by exported name and section, and their sum."""
    counts = [(row.sentences, row.promises, row.asked, row.not_graded) for row in rows]
    names = ("sentences", "promises", "asked", "not graded")
    columns = [Column(name, justify="right") for name in names]
    table = Table("promised by", *columns, title="ledger of promises")
    for row, numbers in zip(rows, counts, strict=True):
        table.add_row(row.place, *map(str, numbers))
    table.add_section()
    table.add_row("all", *(str(sum(column)) for column in zip(*counts, strict=True)))
    return table
