"""`grader grade`: grades one submission or a whole class."""

import json
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from grader.assignment.folders import find_assignment, find_reference
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.assignment.plan import Plan
from grader.batch import BatchOptions, Outcome, grade_class
from grader.commands.listing import AssignmentsOption, ReferenceOption
from grader.commands.timing import (
    DeviceOption,
    ImageOption,
    SandboxOption,
    class_of,
    open_drivers,
    timed_machine,
)
from grader.intake import collect
from grader.judge.judgement import Cause, Status, Verdict
from grader.record.codec import to_json
from grader.record.grade_record import GradeRecord
from grader.record.run_folder import read_run
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.validate.seed_vetting import RejectedSeed, with_vetted_seed

UNCONFINED_NOTICE = (
    "UNCONFINED: with --sandbox none, submissions run with your rights, without any protection. "
    "Every report page of this run says so."
)

WithoutDeviceTargetsOption = Annotated[
    bool,
    typer.Option(
        "--without-device-targets",
        help="Leave targets that need a device, such as a GPU, out of the maximum.",
    ),
]


def command(
    slug: Annotated[str, typer.Argument(help="Assignment, as `grader list` names it.")],
    paths: Annotated[list[Path], typer.Argument(help="File, zip, or folder with a whole class.")],
    out: Annotated[Path, typer.Option(help="Folder for records and reports.")],
    jobs: Annotated[int, typer.Option(min=1, help="Submissions at a time.")] = 1,
    device: DeviceOption = "auto",
    sandbox: SandboxOption = "auto",
    isolation: Annotated[
        Isolation, typer.Option(help="warm: sandboxes are used again; strict: a new one each time.")
    ] = Isolation.WARM,
    assignments: AssignmentsOption = None,
    reference: ReferenceOption = None,
    image: ImageOption = DEFAULT_IMAGE,
    seed: Annotated[str, typer.Option(help="Secret seed; default: the run's, or a new one.")] = "",
    force: Annotated[bool, typer.Option("--force", help="Grade all submissions again.")] = False,
    without_device_targets: WithoutDeviceTargetsOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print checks, points and limits; grade nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Grade one submission or a whole class; the same command continues an interrupted run."""
    earlier = read_run(out)
    with open_drivers(device) as drivers:
        loaded = load_assignment_with_reference(
            find_assignment(slug, assignments),
            find_reference(slug, reference),
            device=class_of(drivers),
            seed=seed or (earlier.seed if earlier else new_seed()),
            without_device_targets=without_device_targets,
        )
        if dry_run:
            print_plan(loaded.plan, as_json=as_json)
            return
        console = Console(stderr=as_json)
        options = BatchOptions(
            sandbox=choose(sandbox, image),
            isolation=isolation,
            jobs=jobs,
            image=image,
            force=force,
            machine=timed_machine(loaded, drivers, console),
        )
        fresh = not seed and earlier is None
        records = run(loaded, paths, options, out=out, console=console, fresh_seed=fresh)
    if as_json:
        typer.echo(json.dumps([_without_seed(record) for record in records]))
    else:
        print_results(records, out, console)
    if any(record.judgement.status is Status.UNGRADED for record in records):
        raise typer.Exit(1)


def _without_seed(record: GradeRecord) -> object:
    """Return a record for the terminal; only its file under staff/ contains the seed."""
    form = json.loads(to_json(record))
    del form["plan"]["seed"]
    return form


def run(
    loaded: LoadedAssignment,
    paths: list[Path],
    options: BatchOptions,
    *,
    out: Path,
    console: Console,
    fresh_seed: bool,
) -> list[GradeRecord]:
    """Grade with a progress bar; a run without a sandbox prints a warning first.

    A new seed is vetted on the solution. A seed that a person chose is not.
    """
    if options.sandbox == "none":
        console.print(f"[bold red]{UNCONFINED_NOTICE}[/]")
    sources = collect(paths, loaded.assignment.slug)
    if fresh_seed:
        loaded = _vet_seed(loaded, console)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, TimeElapsedColumn(), console=console) as progress:
        task = progress.add_task(f"grading {loaded.assignment.slug}", total=len(sources))

        def show(outcome: Outcome) -> None:
            judgement = outcome.record.judgement
            name = outcome.record.submission.name
            again = " (graded before)" if outcome.resumed else ""
            ungraded = judgement.status is Status.UNGRADED
            score = "" if ungraded else f", {judgement.score:g} of {judgement.max_score:g}"
            line = f"{name}: {judgement.status.value}{score}{again}"
            progress.console.print(line, markup=False, highlight=False)
            progress.advance(task)

        try:
            return grade_class(sources, loaded, options, out=out, on_outcome=show)
        except KeyboardInterrupt:
            console.print(
                "interrupted: finished submissions are kept; run the same command again to continue"
            )
            raise


def _vet_seed(loaded: LoadedAssignment, console: Console) -> LoadedAssignment:
    slug = loaded.assignment.slug

    def tell(rejected_seeds: Sequence[RejectedSeed]) -> None:
        for one in rejected_seeds:
            console.print(
                f"{one.check}: the solution fails it under the chosen seed "
                f"({one.summary}; `grader validate {slug} --seed {one.seed}` repeats this)",
                markup=False,
                highlight=False,
            )
        console.print("Choosing another seed; no submission has been graded with this one.")

    console.print(f"checking the new seed on the solution of {slug}", highlight=False)
    return with_vetted_seed(loaded, on_rejected_seed=tell)


def print_plan(plan: Plan, *, as_json: bool) -> None:
    """Print every check with its points, tolerances and number of cases; the seed stays secret."""
    if as_json:
        form = json.loads(to_json(plan))
        del form["seed"]
        typer.echo(json.dumps(form))
        return
    headings = ("problem", "check", "kind", "points", "public", "hidden", "tolerance", "evidence")
    table = Table(*headings, title=f"{plan.title}: {plan.points:g} points on {plan.device}")
    for problem in plan.problems:
        for check in problem.checks:
            tolerance = ", ".join(f"{d} {t:.2g}" for d, t in check.tolerance.items()) or "exact"
            kind = check.kind.value if problem.targets else ""
            row = (check.name, kind, f"{check.points:g}", str(check.public), str(check.hidden))
            table.add_row(problem.name, *row, tolerance, check.evidence.value)
    limits = plan.limits
    console = Console(width=max(os.get_terminal_size().columns, 100) if os.isatty(1) else 140)
    console.print(table)
    if any(problem.targets for problem in plan.problems):
        console.print(_targets(plan))
    typer.echo(
        f"limits: import {limits.load_wall_s:g} s, call {limits.call_wall_s:g} s, problem "
        f"{limits.problem_wall_s:g} s, memory {limits.memory_bytes >> 20} MiB, "
        f"{limits.processes} processes"
    )


def _targets(plan: Plan) -> Table:
    """Return the performance targets with their tiers on the plan's device."""
    headings = ("problem", "target", "points", "quantity", "clock", "passes up to", "full up to")
    title = "targets, measured only if every essential check of the problem passes"
    table = Table(*headings, title=title)
    for problem in plan.problems:
        for target in problem.targets:
            timed = not target.quantity.is_counted
            row = (target.name, f"{target.points:g}", target.quantity.value)
            clock = target.clock.value if timed else ""
            tier = [(f"{t.pass_at:g}", f"{t.full_at:g}") for t in target.tiers]
            table.add_row(problem.name, *row, clock, *(tier[0] if tier else ("no device", "")))
    return table


def print_results(records: list[GradeRecord], out: Path, console: Console) -> None:
    """Print one row per submission, and where the reports are."""
    table = Table("submission", "status", "score", "of", "causes")
    for record in records:
        judgement = record.judgement
        causes = Counter(c.cause.value for c in judgement.checks if c.cause is not Cause.NONE)
        counts = ", ".join(f"{count} × {cause}" for cause, count in causes.most_common())
        score = "" if judgement.status is Status.UNGRADED else f"{judgement.score:g}"
        points = (judgement.status.value, score, f"{judgement.max_score:g}")
        table.add_row(record.submission.name, *points, counts)
    console.print(table)
    for record in records:
        reason = _reason(record)
        if reason:
            console.print(f"{record.submission.name}: {reason}", markup=False, highlight=False)
    console.print(f"grades:  {out / 'grades.csv'}\nreports: {out / 'index.html'}", markup=False)


def _reason(record: GradeRecord) -> str:
    """Return why a submission was rejected or has no grade; empty for all others."""
    judgement = record.judgement
    if judgement.status is Status.REJECTED:
        return f"rejected: {' '.join(judgement.message.split())}"
    if judgement.status is not Status.UNGRADED:
        return ""
    ours = (c for c in judgement.checks if c.verdict is Verdict.UNGRADED)
    first = next(c.summary for c in ours if c.cause is not Cause.NO_DEVICE)
    return f"not graded; run the same command again. Reason: {first}"
