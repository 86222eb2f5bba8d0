"""`grader bench`: measures the grader itself on this machine."""

import gzip
import os
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress

from benchmarks.verdicts.cells import FULL, QUICK, Scale
from benchmarks.verdicts.known_work import open_known_work, target_of
from benchmarks.verdicts.recording import Recording, record, steps_of
from benchmarks.verdicts.replay import replay
from benchmarks.verdicts.result import result_of
from benchmarks.verdicts.table import print_result
from grader.assignment.loaded import LoadedAssignment
from grader.errors import UsageError
from grader.evidence.comparison import use_one_thread
from grader.record.grade_record import from_json, to_json
from grader.sandbox.backends import choose
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool

command = typer.Typer(no_args_is_help=True, help="Measure the grader itself, on this machine.")


@command.callback()
def _group() -> None:
    """Keep `verdicts` a subcommand, although it is the only one."""


@command.command()
def verdicts(
    sandbox: Annotated[str, typer.Option(help="auto, docker, bwrap or none.")] = "auto",
    image: Annotated[str, typer.Option(help="Container image for docker.")] = DEFAULT_IMAGE,
    quick: Annotated[
        bool, typer.Option(help="A minute, not a quarter of an hour; a smoke test.")
    ] = False,
    replay_file: Annotated[
        Path | None, typer.Option("--replay", help="Judge recorded pairs again; measure nothing.")
    ] = None,
    pairs_file: Annotated[
        Path | None, typer.Option("--pairs", help="Write the measured pairs here (.json.gz).")
    ] = None,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="Also write the result here as JSON.")
    ] = None,
) -> None:
    """Count wrong verdicts on submissions of known slowness. Exit code 1: too many."""
    scale, console = QUICK if quick else FULL, Console()
    use_one_thread()
    with tempfile.TemporaryDirectory(prefix="grader-bench-") as folder:
        loaded = open_known_work(Path(folder))
        if replay_file is None:
            recording = _record(loaded, choose(sandbox, image), image, scale, console)
        else:
            recording = _read(replay_file)
    if pairs_file is not None:
        pairs_file.write_bytes(gzip.compress(to_json(recording).encode("utf-8"), mtime=0))
    console.print(f"replaying {scale.series} series of each cell")
    tallies = replay(
        recording, target_of(loaded), series=scale.series, processes=os.cpu_count() or 1
    )
    result = result_of(recording, tallies, quick=quick)
    print_result(result, console)
    if json_file is not None:
        json_file.write_text(to_json(result, indent=2) + "\n", encoding="utf-8")
    if not all(bound.holds for bound in result.bounds):
        raise typer.Exit(1)


def _record(
    loaded: LoadedAssignment, sandbox: str, image: str, scale: Scale, console: Console
) -> Recording:
    """Measure in sandboxes, with a progress bar."""
    pool = SandboxPool(
        sandbox,
        loaded.plan.limits,
        isolation=Isolation.WARM,
        jobs=1,
        device=loaded.plan.device,
        image=image,
    )
    with closing(pool) as sandboxes, Progress(console=console, transient=True) as progress:
        task = progress.add_task("measuring", total=steps_of(scale))
        return record(sandboxes, loaded, scale, on_step=lambda: progress.advance(task))


def _read(path: Path) -> Recording:
    """Return a recording from a file that `--pairs` wrote.

    Raises:
        UsageError: if the file cannot be read or is not gzip-compressed text.
        StoreError: if it is not a recording.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode("utf-8")
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise UsageError(f"{path}: expected a file that --pairs wrote: {error}") from error
    return from_json(Recording, text)
