"""`grader validate`: check assignments against known-right and known-wrong submissions."""

import json
import os
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Column, Table

from grader.assignment.folders import find_assignment, find_reference, list_assignments
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.batch import BatchOptions, make_builder, open_sandboxes
from grader.commands.listing import AssignmentsOption, ReferenceOption
from grader.commands.timing import (
    DeviceOption,
    ImageOption,
    SandboxOption,
    class_of,
    open_drivers,
    timed_machine,
)
from grader.record.codec import to_json
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.validate.kill_matrix import Validation
from grader.validate.known_submission import Kind, KnownSubmission
from grader.validate.seed_vetting import SeedRuns
from grader.validate.triviality import Trivial, TrivialResult
from grader.validate.validate import ValidationReport, validate_assignment

CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
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
) -> None:
    """Check an assignment against its known-right and known-wrong submissions.

    Prints which check catches which wrong submission. Exit code 1 if something must be fixed.
    """
    names = slugs or [found.name for found in list_assignments(assignments)]
    console = Console()
    validations = []
    with open_drivers(device) as drivers:
        for slug in names:
            loaded = load_assignment_with_reference(
                find_assignment(slug, assignments),
                find_reference(slug, reference),
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


def _validate(
    loaded: LoadedAssignment, options: BatchOptions, console: Console, *, seeds: int
) -> ValidationReport:
    """Validate one assignment with a progress bar."""
    with (
        Progress(console=console, transient=True) as progress,
        open_sandboxes(loaded, options) as sandboxes,
        closing(make_builder(loaded, options)) as builder,
    ):
        task = progress.add_task(f"validating {loaded.assignment.slug}", total=None)

        def tell(known: KnownSubmission, seconds: float) -> None:
            progress.advance(task)
            if seconds > SLOW_SECONDS:
                name = f"{known.kind.value}/{known.name}"
                console.print(f"{name} took {seconds:.0f} s", style="dim", markup=False)

        return validate_assignment(
            loaded,
            sandboxes,
            jobs=options.jobs,
            seeds=seeds,
            on_known=tell,
            machine=options.machine,
            builder=builder,
        )


def print_validation(report: ValidationReport, console: Console) -> None:
    """Print scores, the kill matrix, the trivial submissions and the complaints."""
    validation = report.validation
    console.print(_scores(validation))
    console.print(_matrix(validation))
    console.print(_trivial(report.trivial))
    if report.further.seeds:
        console.print(_margins(report.further), markup=False)
    for one in report.unvalidated:
        console.print(f"NOT VALIDATED HERE {one}", style="yellow", markup=False)
    for complaint in validation.complaints:
        console.print(f"COMPLAINT {complaint}", style="red", markup=False)
    count = len(validation.complaints)
    again = f"repeat this run with --seed {report.seed}"
    verdict = f"{count} complaints ({again})" if count else "sound"
    console.print(f"{validation.assignment}: {verdict}", style="bold", markup=False)


def _margins(further: SeedRuns) -> str:
    """Return a sentence on how near the solution's errors come to the tolerances."""
    nearest = sorted(further.largest.items(), key=lambda one: -one[1])[:NEAREST]
    shares = ", ".join(f"{check} {share:.0%}" for check, share in nearest)
    return (
        f"solution under {len(further.seeds)} further seeds: {len(further.rejected_seeds)} checks "
        f"failed; largest errors, relative to the tolerance: {shares or 'no tolerances'}"
    )


def _scores(validation: Validation) -> Table:
    """Return one row for each known submission: its score, its cost, and what it fails."""
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


def _matrix(validation: Validation) -> Table:
    table = Table(
        "check", "caught by it alone", "also caught", title=f"{validation.assignment}: kill matrix"
    )
    for result in validation.checks:
        others = [name for name in result.catches if name not in result.alone]
        alone = ", ".join(result.alone) or "NOTHING"
        table.add_row(result.check, alone, ", ".join(others))
    return table


def _trivial(results: tuple[TrivialResult, ...]) -> Table:
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
