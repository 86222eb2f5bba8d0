"""What is graded is what `check` saw, whatever a file is made of; a fault costs what it touches."""

import multiprocessing
import re
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from grader.assignment.reading import read_submission
from grader.commands.check import display_name
from grader.intake import Rejected, Submission, SubmissionSource
from grader.intake.notebook import one_reader
from grader.intake.submission import Attachment
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from grader.sandbox.pool import SandboxPool
from grader.student.packing import load_work, oversights, pack
from grader.student.public_run import lay_out
from grader.student.work import ZIP_ENDING, Work
from grader.worker.session import open_session
from tests.flows.checked_parts import (
    CALLS,
    SLUG,
    TINY,
    Loaded,
    Made,
    load_here,
    submissions,
    try_calls,
)

ANSWERS = {problem: value for problem, (_, value) in CALLS.items()}
PLACE = re.compile(r"(In \[\d+\]|code cell \d+|[\w ]+\.py), line \d+")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    """Forks a process for each load, from one that has imported what `check` does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["grader.student.replay", "tests.flows.checked_parts", "pytest"])
    with ProcessPoolExecutor(1, mp_context=context, max_tasks_per_child=1) as pool, one_reader():
        yield pool


@dataclass(frozen=True)
class Checked:
    """What a student saw before handing in, and what grading then reads."""

    submission: Submission
    warnings: tuple[str, ...]
    here: Loaded
    graded: Submission


def check_and_pack(made: Made, processes: ProcessPoolExecutor) -> Checked:
    with tempfile.TemporaryDirectory() as folder:
        path = made.write(Path(folder))
        work = Work(path=path, slug=SLUG)
        submission = load_work(work, TINY)
        (Path(folder) / "local").mkdir()
        job = lay_out(
            submission, Path(folder), display_name(work, submission), Path(folder) / "local"
        )
        here = processes.submit(load_here, job).result(timeout=60)
        warnings = oversights(work, submission, TINY)
        if path.suffix != ZIP_ENDING:
            path = pack(work, submission, TINY, Path(folder) / "out").path
        parts = (Attachment(path=path),)
        graded = read_submission(SubmissionSource(name="me", parts=parts), TINY, None)
    assert not isinstance(graded, Rejected), graded.text
    return Checked(submission, warnings, here, graded)


def assert_costs_what_it_touches(made: Made, found: Loaded) -> None:
    whole = {problem: value for problem, value in ANSWERS.items() if problem not in made.costs}
    assert found.values == whole, found
    for problem in made.costs:  # where, and what
        assert PLACE.search(found.faults[problem]) or "is not defined" in found.faults[problem]


@given(made=submissions())
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_grading_reads_what_check_loaded(processes, made):
    one = check_and_pack(made, processes)
    seen, graded = one.submission, one.graded
    assert [file.text for file in graded.files] == [file.text for file in seen.files]
    assert graded.allowed_imports == seen.allowed_imports
    assert [(b.kind, b.names) for b in graded.broken] == [(b.kind, b.names) for b in seen.broken]
    assert_costs_what_it_touches(made, one.here)
    if made.costs:
        assert one.warnings or one.here.failures  # never in silence
    if not made.warns and not made.beside:
        assert one.warnings == ()
    for broken in seen.broken:
        assert PLACE.match(broken.place)
    for failure in one.here.failures:
        assert PLACE.match(failure.where), failure


@pytest.fixture(scope="module")
def sandboxes() -> Iterator[SandboxPool]:
    pool = SandboxPool(
        "bwrap", TINY.limits, isolation=Isolation.WARM, jobs=1, device="cpu", image=DEFAULT_IMAGE
    )
    with closing(pool):
        yield pool


@pytest.mark.bwrap
@given(made=submissions())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_sandbox_loads_what_check_loaded(processes, sandboxes, made):
    one = check_and_pack(made, processes)
    with (
        sandboxes.borrow() as sandbox,
        open_session(sandbox, one.graded, limits=TINY.limits) as session,
    ):
        session.load()
        there = try_calls(session.call, session.failures)
    assert_costs_what_it_touches(made, there)
    own = re.compile(rf"^({re.escape(Path(made.name).stem)}|submission)\.py")
    here = [replace(f, where=own.sub(f"{SLUG}.py", f.where)) for f in one.here.failures]
    assert [*there.failures] == here
