"""`grader validate`: prove that assignments grade what they say."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from grader.assignment.folders import find_assignment, find_reference, list_assignments
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.batch import BatchOptions, make_builder, open_sandboxes
from grader.commands.timing import class_of, open_drivers, timed_machine
from grader.record.codec import to_json
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.validate.kill_matrix import Validation
from grader.validate.known_submission import Kind, KnownSubmission
from grader.validate.seed_vetting import SeedRuns
from grader.validate.triviality import Trivial, TrivialResult
from grader.validate.validate import ValidationReport, validate_assignment

SLOW_SECONDS = 30.0
"""A specimen that takes longer is named: it may hang where it need not."""
NEAREST = 3
"""Checks whose errors are printed: those that come nearest to their tolerances."""


def command(
    slugs: Annotated[list[str] | None, typer.Argument(help="Assignments; default: all.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu or cuda.")] = "auto",
    sandbox: Annotated[str, typer.Option(help="auto, docker, bwrap or none.")] = "auto",
    jobs: Annotated[int, typer.Option(min=1, help="Submissions at a time.")] = 2,
    assignments: Annotated[
        Path | None, typer.Option(envvar="GRADER_ASSIGNMENTS", help="Folder of assignments.")
    ] = None,
    reference: Annotated[
        Path | None, typer.Option(envvar="GRADER_REFERENCE", help="Folder of references.")
    ] = None,
    image: Annotated[str, typer.Option(help="Container image for docker.")] = DEFAULT_IMAGE,
    seed: Annotated[str, typer.Option(help="Seed of hidden cases; default: a new one.")] = "",
    seeds: Annotated[
        int,
        typer.Option(min=0, help="Further seeds under which the solution must pass its checks."),
    ] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the result here as JSON.")
    ] = None,
) -> None:
    """Grade starter, solution, right and wrong submissions, and print the kill matrix."""
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
    """Prove one assignment with a progress bar."""
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
        console.print(f"NOT PROVEN HERE {one}", style="yellow", markup=False)
    for complaint in validation.complaints:
        console.print(f"COMPLAINT {complaint}", style="red", markup=False)
    count = len(validation.complaints)
    again = f"--seed {report.seed} repeats this run"
    verdict = f"{count} complaints ({again})" if count else "sound"
    console.print(f"{validation.assignment}: {verdict}", style="bold", markup=False)


def _margins(further: SeedRuns) -> str:
    """Return a sentence on how near the solution comes to what is allowed."""
    nearest = sorted(further.largest.items(), key=lambda one: -one[1])[:NEAREST]
    shares = ", ".join(f"{check} {share:.0%}" for check, share in nearest)
    return (
        f"solution under {len(further.seeds)} further seeds: {len(further.rejected_seeds)} checks "
        f"failed; largest errors, of what is allowed: {shares or 'none is allowed'}"
    )


def _scores(validation: Validation) -> Table:
    table = Table("submission", "score", "fails", title=f"{validation.assignment}: specimens")
    for result in validation.known_submissions:
        names = [f"{name} ({cause.value})" for name, cause in result.failed]
        fails = ", ".join([*names, *(f"{name} (held)" for name in result.needs_review)])
        if result.kind is Kind.STARTER:
            causes = sorted({cause.value for _, cause in result.failed})
            fails = f"{len(result.failed)} checks ({', '.join(causes)})"
        score = f"{result.percent:.0f} %" if result.max_score else "needs a device"
        table.add_row(f"{result.kind.value}/{result.name}", score, fails)
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
