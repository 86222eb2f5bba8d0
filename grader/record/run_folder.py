"""What an output folder keeps of its run: seed and hash of the plan, and a lock against other runs.

Records are in `record.store`, pages in `report`.
"""

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from grader.assignment.loaded import LoadedAssignment
from grader.errors import UsageError
from grader.record.codec import format_of, from_json, to_json
from grader.record.grade_record import RECORD_SCHEMA_VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFacts:
    """What identifies a run, kept beside its records so that a later call can continue it."""

    schema_version: int
    assignment: str
    seed: str
    plan_sha256: str


def read_run(out: Path) -> RunFacts | None:
    """Return what an output folder keeps of an earlier run, if there was one.

    Raises:
        UsageError: if the folder's records have another format.
        StoreError: if it cannot be read.
    """
    path = out / "staff" / "run.json"
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8", errors="replace")
    written = format_of(text)
    if not written:
        raise UsageError(
            f"{path}: expected which format its records have, found {text[:40]!r}: the file is "
            "damaged, or of a version of the grader below format 3",
            hint="put a copy of the file back, or choose another --out and grade again",
        )
    if written != RECORD_SCHEMA_VERSION:
        raise UsageError(
            f"{out} was written by another version of the grader: its records have format "
            f"{written}, this version reads format {RECORD_SCHEMA_VERSION}",
            hint="choose another --out and grade again, or use the version that wrote the folder",
        )
    return from_json(RunFacts, text)


def begin_run(out: Path, loaded: LoadedAssignment, *, force: bool) -> None:
    """Write which run this is into its output folder.

    Raises:
        UsageError: if the folder holds a run of another plan, unless `force`.
    """
    facts = RunFacts(
        schema_version=RECORD_SCHEMA_VERSION,
        assignment=loaded.assignment.slug,
        seed=loaded.plan.seed,
        plan_sha256=loaded.plan.sha256,
    )
    before = read_run(out)
    if before is not None and before.assignment != facts.assignment:
        raise UsageError(
            f"{out} holds grades of {before.assignment}, not of {facts.assignment}",
            hint="choose another --out",
        )
    if before is not None and before.plan_sha256 != facts.plan_sha256 and not force:
        raise UsageError(
            f"the plan has changed since the first run into {out}: the assignment, its "
            "reference, the device or the seed is different",
            hint="--force grades everything again under the new plan; another --out keeps both",
        )
    path = out / "staff" / "run.json"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(to_json(facts, indent=2), encoding="utf-8")
    scratch.replace(path)


@contextmanager
def alone_in(out: Path) -> Iterator[None]:
    """Lock an output folder for this run; the lock ends with the process.

    Raises:
        UsageError: if another run has the lock, or `out` cannot be a folder.
    """
    try:
        (out / "staff").mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = (out / "staff" / "run.lock").open("w")
    except (FileExistsError, NotADirectoryError, PermissionError) as error:
        raise UsageError(
            f"{out} cannot be used as the output folder: {error}",
            hint="choose another --out, a folder that you may write to",
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise UsageError(
                f"another run is grading into {out}", hint="wait for it, or choose another --out"
            ) from error
        yield
