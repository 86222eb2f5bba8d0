"""Grades a class from the command line: seed, progress, results. See `commands.grade`."""

import json
import os
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference, new_seed
from grader.assignment.plan import Plan
from grader.batch import BatchOptions, Outcome, grade_class
from grader.commands.timing import class_of, open_drivers, timed_machine
from grader.intake import collect
from grader.judge.judgement import Cause, Status, Verdict
from grader.preflight import duration_text, list_some
from grader.record.grade_record import GradeRecord, to_json
from grader.record.run_folder import RunFacts
from grader.validate.seed_vetting import RejectedSeed, with_vetted_seed

UNCONFINED_NOTICE = (
    "UNCONFINED: with --sandbox none, submissions run with your rights, without any protection. "
    "Every report page of this run says so."
)
NAMED = 10
"""How many submissions are named that have the same reason for no score."""


def grade_and_print(
    paths: Sequence[Path],
    options: BatchOptions,
    *,
    folder: Path,
    reference: Path,
    out: Path,
    device: str,
    seed: str,
    earlier: RunFacts | None,
    without_device_targets: bool,
    each_s: float,
    as_json: bool,
) -> bool:
    """Grade what the command names, print the results, and return whether all have a score.

    `earlier` is the run that is continued, `each_s` what one submission is expected to take.
    """
    console = Console(stderr=as_json)
    with open_drivers(device) as drivers:
        loaded = load_assignment_with_reference(
            folder,
            reference,
            device=class_of(drivers),
            seed=seed or (earlier.seed if earlier else new_seed()),
            without_device_targets=without_device_targets,
        )
        options = replace(options, machine=timed_machine(loaded, drivers, console))
        fresh = not seed and earlier is None
        records = run(
            loaded, paths, options, out=out, console=console, fresh_seed=fresh, each_s=each_s
        )
    if as_json:
        typer.echo(json.dumps([_without_seed(record) for record in records]))
    else:
        print_results(records, out, console)
    return all(record.judgement.status.has_score for record in records)


def _without_seed(record: GradeRecord) -> object:
    """Return a record for the terminal; only its file under staff/ contains the seed."""
    form = json.loads(to_json(record))
    del form["plan"]["seed"]
    return form


@dataclass(slots=True)
class Remaining:
    """How long the rest of a class takes, by the mean so far.

    Attributes:
        count: submissions that are not done.
        each_s: what one took on average, with all jobs together; at first, what is expected.
    """

    count: int
    each_s: float
    _graded: int = 0
    _began_s: float = field(default_factory=time.monotonic)

    def note(self, *, resumed: bool, now_s: float) -> None:
        """Count one that is done; those that were graded before take no time, and come first."""
        self.count -= 1
        if resumed:
            self._began_s = now_s
        else:
            self._graded += 1
            self.each_s = (now_s - self._began_s) / self._graded

    @property
    def text(self) -> str:
        """The time that is left, for people; empty at the end."""
        return f"{duration_text(self.count * self.each_s)} left" if self.count else ""


def run(
    loaded: LoadedAssignment,
    paths: Sequence[Path],
    options: BatchOptions,
    *,
    out: Path,
    console: Console,
    fresh_seed: bool,
    each_s: float = 0.0,
) -> list[GradeRecord]:
    """Grade with a progress bar; a run without a sandbox prints a warning first.

    A new seed is vetted on the solution. A seed that a person chose is not.
    """
    if options.sandbox == "none":
        console.print(f"[bold red]{UNCONFINED_NOTICE}[/]")
    sources = collect(paths, loaded.assignment.slug)
    if fresh_seed:
        loaded = _vet_seed(loaded, console)
    remaining = Remaining(len(options.only) or len(sources), each_s / options.jobs)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, *times, console=console) as progress:
        title = f"grading {loaded.assignment.slug}"
        task = progress.add_task(title, total=remaining.count, left=remaining.text)

        def show(outcome: Outcome) -> None:
            remaining.note(resumed=outcome.resumed, now_s=time.monotonic())
            after = "" if outcome.resumed or not remaining.count else f" ({remaining.text})"
            progress.console.print(_line(outcome) + after, markup=False, highlight=False)
            progress.update(task, advance=1, left=remaining.text)

        try:
            return grade_class(sources, loaded, options, out=out, paths=paths, on_outcome=show)
        except KeyboardInterrupt:
            console.print(
                "interrupted: finished submissions are kept; run the same command again to continue"
            )
            raise


def _line(outcome: Outcome) -> str:
    judgement = outcome.record.judgement
    scored = f", {judgement.score:g} of {judgement.max_score:g}"
    again = " (graded before)" if outcome.resumed else ""
    score = scored if judgement.status.has_score else ""
    return f"{outcome.record.submission.name}: {judgement.status.value}{score}{again}"


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


def print_plan(
    folder: Path, reference: Path, device: str, *, leave_out: bool, as_json: bool
) -> None:
    """Print every check with its points, tolerances and number of cases; the seed stays secret.

    `leave_out` says whether targets that need a device are left out.
    """
    with open_drivers(device) as drivers:
        plan = load_assignment_with_reference(
            folder,
            reference,
            device=class_of(drivers),
            seed=new_seed(),
            without_device_targets=leave_out,
        ).plan
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
        score = f"{judgement.score:g}" if judgement.status.has_score else ""
        points = (judgement.status.value, score, f"{judgement.max_score:g}")
        table.add_row(record.submission.name, *points, counts)
    console.print(table)
    for line in reasons(records):
        console.print(line, markup=False, highlight=False)
    console.print(f"grades:  {out / 'grades.csv'}\nreports: {out / 'index.html'}", markup=False)


def reasons(records: Iterable[GradeRecord]) -> Iterable[str]:
    """Yield why submissions have no score; one reason that several have is told once."""
    names: dict[str, list[str]] = defaultdict(list)
    for record in records:
        names[_reason(record)].append(record.submission.name)
    for reason, who in names.items():
        if reason:
            yield f"{list_some(who, NAMED)}: {reason}"


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
