"""`grader check`: runs the public cases on a student's own machine.

Prints a table, or JSON. Exit code 1 if a public case fails. Hidden cases, and with them the grade,
are not part of it.
"""

import json
import shlex
from dataclasses import asdict, replace
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from grader.assignment.folders import find_assignment
from grader.assignment.public_cases import CaseName, choose_case, code_of_case, list_cases
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.assignment.target import CPU, Quantity, Target
from grader.commands.listing import AssignmentsOption
from grader.cuda_cpp.compiling import compile_work, print_compiled
from grader.errors import UsageError
from grader.intake.submission import Origin, Submission
from grader.student.install import missing_triton, note_version
from grader.student.oversights import find_misnamed
from grader.student.packing import load_work
from grader.student.public_run import run_public
from grader.student.result import PublicResult, print_case_result, print_code, print_result
from grader.student.work import ZIP_ENDING, Work, find_work

PathArgument = Annotated[
    Path | None,
    typer.Argument(
        metavar="[PATH]",
        help="Your .py, .ipynb or .cu file, its folder, or the zip; default: this folder.",
    ),
]
SlugOption = Annotated[
    str | None,
    typer.Option(
        "--assignment",
        metavar="SLUG",
        help="The assignment; needed only if your file does not name it.",
    ),
]


def command(
    path: PathArgument = None,
    *,
    assignment: SlugOption = None,
    problem: Annotated[
        list[str] | None,
        typer.Option("--problem", metavar="NAME", help="Check only this problem; may be repeated."),
    ] = None,
    performance: Annotated[
        bool,
        typer.Option(
            "--performance",
            help="Instead of the public cases, try what performance targets ask: growth, memory, "
            "traffic. Rough, and never points.",
        ),
    ] = False,
    assignments: AssignmentsOption = None,
    show: Annotated[
        str,
        typer.Option(
            "--show", metavar="CASE", help="Show one case as code, such as KVCache.truncate[0]."
        ),
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Run the public cases on your work, on this machine; takes seconds."""
    work = find_work(path, assignment, assignments)
    folder = find_assignment(work.slug, assignments)
    table = load_assignment(folder)
    only = _chosen_case(folder, table, show) if show else None
    wanted = select_problems(table, [only.problem] if only else problem or [])
    if only and not as_json:
        _print_case(folder, only, work.path)
    submission = load_work(work, table, folder)
    _print_notes(work.path.parent, submission, table)
    if submission.origin is Origin.CUDA:
        _check_compiles(submission, table, as_json=as_json)
        return
    if performance:
        _try_performance(submission, folder, wanted, as_json=as_json)
        return
    typed = _command(path, assignment, assignments)
    source = display_name(work, submission)
    result = run_public(submission, folder, table, wanted, source=source, command=typed, only=only)
    result = _with_misnamed(result, submission, wanted)
    if as_json:
        typer.echo(json.dumps(result.to_json(), indent=2))
    else:
        (print_case_result if only else print_result)(result, Console())
    if not result.passed:
        raise typer.Exit(1)


def _with_misnamed(
    result: PublicResult, submission: Submission, wanted: tuple[Problem, ...]
) -> PublicResult:
    """Add a note for each name that is missing and that the file may have under another."""
    misnamed = find_misnamed(submission, [name for one in wanted for name in one.exports])
    return replace(result, notices=(*result.notices, *misnamed))


def _print_notes(folder: Path, submission: Submission, table: Assignment) -> None:
    """Tell of a newer version and of missing Triton, beside what may be JSON."""
    in_cuda = submission.origin is Origin.CUDA
    triton = "" if in_cuda else missing_triton(table, [file.text for file in submission.files])
    for note in filter(None, (note_version(folder, table), triton)):
        typer.echo(f"note: {note}", err=True)


def _chosen_case(folder: Path, table: Assignment, text: str) -> CaseName:
    return choose_case(text, list_cases(folder, tuple(one.name for one in table.problems)))


def _print_case(folder: Path, name: CaseName, path: Path) -> None:
    module = path.stem if path.suffix == ".py" else ""
    print_code(f"{code_of_case(folder, name, module=module)}\n", Console())


def _command(path: Path | None, slug: str | None, assignments: Path | None) -> str:
    """Return the command that was typed, without what chooses problems and output."""
    words = ["grader", "check", *([str(path)] if path else [])]
    words += ["--assignment", slug] if slug else []
    words += ["--assignments", str(assignments)] if assignments else []
    return shlex.join(words)


def display_name(work: Work, submission: Submission) -> str:
    """Return the student's own name for the file that is graded."""
    if work.path.suffix != ZIP_ENDING:
        return work.path.name
    return PurePosixPath(submission.graded_file).name or submission.files[0].name


def _check_compiles(submission: Submission, table: Assignment, *, as_json: bool) -> None:
    """Compile a submission in CUDA C++; running its public cases needs the grader and a GPU."""
    compiled = compile_work(submission, table)
    if as_json:
        typer.echo(json.dumps(asdict(compiled), indent=2))
    else:
        print_compiled(compiled, Console())
    if not compiled.compiles:
        raise typer.Exit(1)


def _try_performance(
    submission: Submission, folder: Path, wanted: tuple[Problem, ...], *, as_json: bool
) -> None:
    """Measure the published targets of some problems, and print what came out."""
    # These import torch, which takes seconds.
    from grader.student.performance import describe, measure_target
    from grader.student.workloads import load_targets

    console = Console()
    tables = {(one.name, target.name): target for one in wanted for target in one.targets}
    published = [one for one in load_targets(folder) if (one.problem, one.target) in tables]
    if not as_json:
        console.print(
            "Rough numbers of this machine, without the reference and its noise: they never give "
            "points, and the grader's may differ."
        )
    found: list[dict[str, object]] = []
    for one in published:
        runs = measure_target(submission, folder, one)
        found.append({"problem": one.problem, "target": one.target, "runs": [*map(asdict, runs)]})
        if as_json:
            continue
        target = tables.pop((one.problem, one.target))
        console.print()
        title = f"{one.problem}.{one.target} ({target.points:g} points): {target.title}"
        console.print(Text(title, style="bold"))
        for line in (one.description, *describe(one, runs), limits_of(target)):
            console.print(Text(f"  {line}"))
    if as_json:
        typer.echo(json.dumps(found, indent=2))
    elif tables:
        left = ", ".join(f"{problem}.{name}" for problem, name in tables)
        console.print(Text(f"\nNot tried at home (graded on a GPU, or not published): {left}"))


def limits_of(target: Target) -> str:
    """Return what a target asks on a CPU, as students read it."""
    (tier,) = target.tiers_for(CPU)
    what = {
        Quantity.TIME: "time, as a ratio to the reference's",
        Quantity.GROWTH: "power of growth beyond the reference's",
        Quantity.MEMORY: "peak, as a ratio to the reference's",
        Quantity.TRAFFIC: "traffic, as a ratio to what must cross",
    }[target.quantity]
    return f"graded: {what}; all points up to {tier.full_at:g}, half up to {tier.pass_at:g}"


def select_problems(table: Assignment, names: list[str]) -> tuple[Problem, ...]:
    """Return the problems with these names, or all problems if `names` is empty.

    Raises:
        UsageError: if a name is unknown.
    """
    known = [problem.name for problem in table.problems]
    for name in names:
        if name not in known:
            raise UsageError(
                f"{table.slug} has no problem {name!r}", hint=f"it has: {', '.join(known)}"
            )
    return tuple(one for one in table.problems if not names or one.name in names)
