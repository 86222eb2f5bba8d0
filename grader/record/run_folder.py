"""What an output folder keeps of its run: seed and hash of the plan, and a lock against other runs.

Records are in `record.store`, names in `record.class_list`, pages in `report`. Nothing here needs
torch, so what is wrong with a folder is said at once.
"""

import fcntl
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from grader.errors import UsageError
from grader.strict import json_converter, read_json, write_json

if TYPE_CHECKING:
    from grader.assignment.loaded import LoadedAssignment

RECORD_SCHEMA_VERSION = 3
"""3: all files of a submission. Records and output folders of another version are refused."""

_FORMAT = re.compile(r'\s*\{\s*"schema_version":\s*(\d{1,9})\b')


def format_of(text: str) -> int:
    """Return the format version that a record states, 0 if it states none.

    The version is the first field of the JSON, so it can be read without the rest.
    """
    found = _FORMAT.match(text)
    return int(found[1]) if found else 0


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
    return read_json(json_converter(), RunFacts, text)


def refuse_other(out: Path, before: RunFacts | None, slug: str) -> None:
    """Refuse an output folder that holds a run of another assignment than `slug`.

    Raises:
        UsageError: if it does.
    """
    if before is not None and before.assignment != slug:
        raise UsageError(
            f"{out} holds grades of {before.assignment}, not of {slug}",
            hint="choose another --out",
        )


def begin_run(out: Path, loaded: "LoadedAssignment", *, force: bool) -> None:
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
    refuse_other(out, before, facts.assignment)
    if before is not None and before.plan_sha256 != facts.plan_sha256 and not force:
        raise UsageError(
            f"the plan has changed since the first run into {out}: the assignment, its "
            "reference, the device or the seed is different",
            hint="--force grades everything again under the new plan; another --out keeps both",
        )
    write_whole(out / "staff" / "run.json", facts)


def write_whole(path: Path, facts: object) -> None:
    """Replace a file of the staff's folder in one step by the JSON form of a dataclass."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    scratch = path.with_suffix(".tmp")
    scratch.write_text(write_json(json_converter(), facts, indent=2), encoding="utf-8")
    scratch.replace(path)


def refuse_misplaced(out: Path, paths: Sequence[Path]) -> None:
    """Refuse an output folder that cannot be one, or that a run would take for a submission.

    Raises:
        UsageError: for a file, and where a path and the output folder lie in one another.
    """
    place = out.resolve()
    solid = next((p for p in (place, *place.parents) if p.exists()), place)
    if not solid.is_dir():
        raise UsageError(
            f"--out {out}: expected a folder, or a name for a new one; found the file {solid}",
            hint="choose another --out",
        )
    for path in (path for path in paths if path.is_dir()):
        folder = path.resolve()
        if place == folder or folder in place.parents:
            where = "is" if place == folder else "lies inside"
            _refuse(f"--out {out} {where} the folder that is graded, {path}", folder)
        if place in folder.parents:
            _refuse(f"the folder that is graded, {path}, lies inside --out {out}", place)


def _refuse(what: str, folder: Path) -> None:
    raise UsageError(
        f"{what}: the next run would take grades for a submission",
        hint=f"choose an --out beside it, such as {folder.parent / (folder.name + '-grades')}",
    )


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
