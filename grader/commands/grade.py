"""`grader grade`: looks at a class before it is graded, and grades it.

Mistakes in the call are refused, and a dry run is done, without torch: see `preflight`. What needs
torch is in `commands.class_run`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from grader.assignment.folders import find_assignment, find_reference
from grader.commands.listing import AssignmentsOption, ReferenceOption
from grader.commands.timing import DeviceOption, ImageOption, SandboxOption, require_device_name
from grader.intake.entry import NEWER, UNEDITED, real_name
from grader.intake.files import show
from grader.preflight import Fate, Preflight, Wish, duration_text, list_some, survey
from grader.record.run_folder import read_run, refuse_misplaced, refuse_other
from grader.sandbox.backends import choose
from grader.sandbox.contract import DEFAULT_IMAGE, Isolation

PIPED_COLUMNS = 160  # of a table that goes into a file or to another command
SHOWN = 10
"""How many submissions of a kind are named before grading; a dry run names all."""
FATE_TEXT = {
    Fate.GRADE: "to grade",
    Fate.KEPT: "graded before and unchanged",
    Fate.REJECT: "rejected (cannot be read)",
    Fate.FAIL: "unreadable on this machine",
    Fate.LEFT_OUT: "left out by --only",
}

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
    only: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Grade this student of the class; may be repeated."),
    ] = None,
    roster: Annotated[
        Path | None,
        typer.Option(help="CSV with columns name, id or email: says who has no submission."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Grade all submissions again.")] = False,
    without_device_targets: WithoutDeviceTargetsOption = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be graded; grade nothing.")
    ] = False,
    plan: Annotated[
        bool, typer.Option("--plan", help="Print checks, points and limits; grade nothing.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print results as JSON.")] = False,
) -> None:
    """Grade one submission or a whole class; the same command continues an interrupted run."""
    require_device_name(device)
    refuse_misplaced(out, paths)
    folder, answers = find_assignment(slug, assignments), find_reference(slug, reference)
    earlier = read_run(out)
    refuse_other(out, earlier, slug)
    console = Console(stderr=as_json)
    if plan:
        from grader.commands.class_run import print_plan  # imports torch

        print_plan(folder, answers, device, leave_out=without_device_targets, as_json=as_json)
        return
    rosters = () if roster is None else (roster,)
    wish = Wish(only=tuple(only or ()), force=force, jobs=jobs, roster=rosters)
    flight = survey(paths, folder, out, earlier, wish)
    if dry_run:
        print_entries(flight, console, as_json=as_json)
        return
    print_summary(flight, console)
    sandbox = choose(sandbox, image)

    from grader.batch import BatchOptions  # both import torch
    from grader.commands.class_run import grade_and_print

    scored = grade_and_print(
        paths,
        BatchOptions(
            sandbox=sandbox,
            isolation=isolation,
            jobs=jobs,
            image=image,
            force=force,
            only=flight.only,
        ),
        folder=folder,
        reference=answers,
        out=out,
        device=device,
        seed=seed,
        earlier=earlier,
        without_device_targets=without_device_targets,
        each_s=flight.estimate.each_s,
        as_json=as_json,
    )
    if not scored:
        raise typer.Exit(1)


def print_entries(flight: Preflight, console: Console, *, as_json: bool) -> None:
    """Print what would become of each submission, then the summary."""
    if as_json:
        typer.echo(json.dumps(asdict(flight) | {"only": sorted(flight.only)}))
        return
    tops = {one.original[: one.original.find("/") + 1] for one in flight.entries}
    shared = tops.pop() if len(tops) == 1 else ""
    place = f"found in {show(shared)}".rstrip()
    titles = ("submission", place, "file", "attempts", "what happens", "graded before")
    rows: list[tuple[str, ...]] = []
    for entry in flight.entries:
        taken = f"{len(entry.attempts)}, graded: {entry.attempt}" if entry.attempts else ""
        late = " (late)" if entry.late else ""
        before = entry.earlier and f"{entry.earlier}{', other files' if entry.changed else ''}"
        original = entry.original.replace(shared, "") if shared else entry.original
        rows.append((entry.name, original, entry.file, taken + late, entry.fate.value, before))
    told = [number for number in range(len(titles)) if any(row[number] for row in rows)]
    table = Table(*(Column(Text(titles[number]), overflow="fold") for number in told))
    for row in rows:
        table.add_row(*(Text(show(row[number])) for number in told))
    if not console.is_terminal:
        console.width = PIPED_COLUMNS
    console.print(table)
    print_summary(flight, console, shown=len(flight.entries))


def print_summary(flight: Preflight, console: Console, *, shown: int = SHOWN) -> None:
    """Print what becomes of the class in a few lines; of each kind `shown` are named."""
    for line in summary(flight, shown=shown):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def summary(flight: Preflight, *, shown: int) -> Iterator[str]:
    """Yield the lines of the summary."""
    counts = Counter(entry.fate for entry in flight.entries)
    parts = [f"{counts[fate]} {FATE_TEXT[fate]}" for fate in Fate if counts[fate]]
    count = f"{len(flight.entries)} submission{'s' * (len(flight.entries) != 1)}"
    yield f"{count} of {flight.assignment}: {'; '.join(parts)}"
    for fate in (Fate.REJECT, Fate.FAIL):
        entries = [entry for entry in flight.entries if entry.fate is fate]
        for entry in entries[:shown]:
            yield f"  {entry.name} ({show(entry.original)}): {entry.reason}"
        if len(entries) > shown:
            yield f"  and {len(entries) - shown} more; --dry-run names all"
    yield from _doubtful(flight, shown)
    if flight.aside:
        yield f"no longer in the class (records are kept): {list_some(flight.aside, shown)}"
    if flight.elsewhere:
        who = list_some(flight.elsewhere, shown)
        yield f"graded before out of another path, and still in grades.csv: {who}"
        yield "  If an older export lies there, delete it and run this again: then they leave."
    for result in flight.roster:
        yield f"on the roster without a submission: {list_some(result.missing, shown) or 'nobody'}"
        if result.unknown:
            who = list_some(result.unknown, shown)
            yield f"not found on the roster, or fitting two of its lines: {who}"
    if counts[Fate.GRADE]:
        rests_on = flight.estimate.rests_on
        yield f"estimated time: {duration_text(flight.estimate.total_s)} ({rests_on})"


def _doubtful(flight: Preflight, shown: int) -> Iterator[str]:
    """Yield what a person should look at: files that may be the wrong ones, or another's."""
    told = ((one.name, text) for one in flight.entries for text in one.notices)
    doubts = [f"{name}: {text}" for name, text in told if text.endswith((UNEDITED, NEWER))]
    yield from (f"perhaps the wrong file: {one}" for one in doubts[:shown])
    if len(doubts) > shown:
        yield f"  and {len(doubts) - shown} more; --dry-run names all"
    twins = {tuple(sorted((e.name, *e.same_as))) for e in flight.entries if e.same_as}
    if twins:
        yield f"the same bytes: {list_some(map(' = '.join, sorted(twins)), shown)}"
    owners: dict[str, list[str]] = defaultdict(list)
    for entry in flight.entries:
        owners[real_name(f"{entry.owner}.py").lower()].append(entry.name)
    alike = [" and ".join(names) for names in owners.values() if len(names) > 1]
    if alike:
        yield f"perhaps one student's, but graded as two (remove one?): {list_some(alike, shown)}"
