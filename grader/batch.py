"""Grades a class: every submission once, several at a time, and resumes an interrupted run.

The results are records and reports in an output folder. One submission is graded by `pipeline`.
"""

import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from grader.advice.adviser import Adviser
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.reading import read_submission
from grader.cuda_cpp.builder import Builder
from grader.errors import ChannelError, SandboxError, StoreError
from grader.evidence.comparison import use_one_thread
from grader.evidence.faults import Raised, Stopped
from grader.intake import Rejected, Submission, SubmissionSource
from grader.intake.notebook import one_reader
from grader.judge.judgement import Status
from grader.pipeline import Tools, failure_record, grade
from grader.record.class_list import enrol, read_class, write_class
from grader.record.grade_record import GradeRecord
from grader.record.run_folder import alone_in, begin_run
from grader.record.store import RecordStore, writing_below
from grader.report import write_reports, write_student
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxPool, Slots
from grader.sandbox.stale import folder_prefix, remove_stale
from grader.worker.machine import TimedMachine
from grader.worker.selftest import PROBE_LIMITS, refuse_unless, try_limits


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOptions:
    """How a class is graded.

    Attributes:
        jobs: how many submissions to grade at a time.
        image: container image, for the sandbox that needs one.
        force: whether to grade again what was graded under the same plan.
        only: names to grade; empty for the whole class.
    """

    sandbox: str
    isolation: Isolation
    jobs: int
    image: str
    force: bool
    only: frozenset[str] = frozenset()
    machine: TimedMachine = field(default_factory=TimedMachine)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Failed:
    """A submission that could not be loaded because of an error of ours."""

    name: str
    error: Exception


Loaded = Submission | Rejected | _Failed


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The newest record of one submission, and whether it was made in an earlier run."""

    record: GradeRecord
    resumed: bool


@contextmanager
def open_sandboxes(loaded: LoadedAssignment, options: BatchOptions) -> Iterator[SandboxPool]:
    """Start the sandboxes of a batch and test their limits.

    Raises:
        SandboxError: if a sandbox cannot be started, or one of its limits does not hold.
    """
    use_one_thread()
    pool = SandboxPool(
        options.sandbox,
        loaded.plan.limits,
        isolation=options.isolation,
        jobs=options.jobs,
        device=loaded.plan.device.partition(":")[0],
        image=options.image,
        gpu_uuid=options.machine.gpu_uuid,
    )
    with (
        closing(pool) as sandboxes,
        tempfile.TemporaryDirectory(prefix=folder_prefix("secret")) as folder,
    ):
        secret = Path(folder) / "secret"
        secret.write_text("no submission may read this", encoding="utf-8")
        try:
            with sandboxes.borrow() as sandbox, sandbox.under(PROBE_LIMITS) as probe:
                sandboxes.caveats = refuse_unless(try_limits(probe, secret), options.sandbox)
        except (Raised, Stopped, ChannelError, OSError) as error:
            raise SandboxError(
                f"the self-test of the {options.sandbox} sandbox failed: {error}",
                hint="run `grader doctor`: is the machine overloaded, or its disk full?",
            ) from error
        yield sandboxes


def make_builder(loaded: LoadedAssignment, options: BatchOptions) -> Builder:
    """Return the builder of submissions; its sandbox has a slot that no other sandbox has."""
    return Builder(
        loaded,
        sandbox=options.sandbox,
        isolation=options.isolation,
        image=options.image,
        first_slot=Slots.of_run(options.jobs).building.start,
    )


def grade_class(
    sources: Sequence[SubmissionSource],
    loaded: LoadedAssignment,
    options: BatchOptions,
    *,
    out: Path,
    paths: Sequence[Path] = (),
    on_outcome: Callable[[Outcome], None],
) -> list[GradeRecord]:
    """Grade a class and write its reports; submissions that have a record are not graded again.

    Records and reports are written below `out`. `on_outcome` is called for each submission as soon
    as it is done. Who was found in `paths` before, and is no longer there, leaves the class.

    Raises:
        StoreError: if a record cannot be committed or read; records committed before are kept.
    """
    with alone_in(out):
        with writing_below(out):
            begin_run(out, loaded, force=options.force)
        remove_stale()
        with closing(RecordStore.in_folder(out / "staff")) as store:
            batch = _Batch(
                loaded=loaded, options=options, store=store, out=out, on_outcome=on_outcome
            )
            known, sources = enrol(read_class(out), sources, paths, recorded=store.newest_names())
            with writing_below(out):
                write_class(out, known)
            wanted = [one for one in sources if not options.only or one.name in options.only]
            todo = batch.resume(wanted)
            try:
                if todo:
                    batch.grade_all(todo)
            finally:  # after an interrupt, too: reports of what is graded
                newest = store.newest()
                with writing_below(out):
                    write_reports(newest.records, out, aside=known.aside)
    newest.refuse_unreadable()  # after the reports of all that can be read
    names = {item.name for item in wanted}
    return [record for record in newest.records if record.submission.name in names]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Batch:
    """What every submission of a batch shares."""

    loaded: LoadedAssignment
    options: BatchOptions
    store: RecordStore
    out: Path
    on_outcome: Callable[[Outcome], None]

    def resume(self, sources: Sequence[SubmissionSource]) -> list[Loaded]:
        """Load all submissions, and return those that are still to be graded."""
        with (
            one_reader(),
            ThreadPoolExecutor(self.options.jobs, thread_name_prefix="intake") as workers,
        ):
            everything = list(workers.map(self._load, sources))
        todo: list[Loaded] = []
        for submission in everything:
            done = self._graded_before(submission)
            if done is None:
                todo.append(submission)
            else:
                self.on_outcome(Outcome(record=done, resumed=True))
        return todo

    def grade_all(self, todo: Sequence[Loaded]) -> None:
        """Grade in sandboxes; if none can be started, record a failure of ours for each."""
        with ExitStack() as stack:
            try:
                sandboxes = stack.enter_context(open_sandboxes(self.loaded, self.options))
            except SandboxError as error:
                for submission in todo:
                    self._publish(self._fail(submission, error))
            else:
                tools = Tools(
                    sandboxes=sandboxes,
                    machine=self.options.machine,
                    builder=stack.enter_context(closing(make_builder(self.loaded, self.options))),
                    adviser=stack.enter_context(closing(self._make_adviser())),
                    store=self.store,
                )
                self._grade_in_parallel(tools, todo)

    def _make_adviser(self) -> Adviser:
        """Return an adviser; its sandbox has a slot that no grading sandbox has."""
        return Adviser(
            self.loaded,
            sandbox=self.options.sandbox,
            isolation=self.options.isolation,
            image=self.options.image,
            first_slot=Slots.of_run(self.options.jobs).advice.start,
        )

    def _grade_in_parallel(self, tools: Tools, todo: Sequence[Loaded]) -> None:
        """Grade several at a time; an error of ours affects one submission, not the class."""
        stop = threading.Event()

        def one(submission: Loaded) -> GradeRecord | None:
            return None if stop.is_set() else self._grade(submission, tools)

        with ThreadPoolExecutor(self.options.jobs, thread_name_prefix="grade") as workers:
            futures = [workers.submit(one, submission) for submission in todo]
            try:
                for future in as_completed(futures):
                    record = future.result()
                    if record is not None:
                        self._publish(record)
            finally:
                stop.set()  # after a full disk or an interrupt, running ones end and none begins

    def _publish(self, record: GradeRecord) -> None:
        """Write one student's pages early; the final report tells of pages that cannot be made."""
        try:
            with writing_below(self.out):
                write_student(record, self.out)
        except StoreError:
            raise
        except Exception:  # noqa: BLE001, S110 - `write_reports` tries again and reports it
            pass
        self.on_outcome(Outcome(record=record, resumed=False))

    def _fail(self, submission: Loaded, error: Exception) -> GradeRecord:
        """Commit the record of a failure of ours."""
        if isinstance(submission, _Failed):
            submission = Rejected(name=submission.name, sha256="", message="")
        record = failure_record(
            submission,
            self.loaded,
            error,
            sandbox=self.options.sandbox,
            isolation=self.options.isolation,
            driver=self.options.machine.driver_release,
        )
        return self.store.commit(record)

    def _load(self, item: SubmissionSource) -> Loaded:
        try:
            return read_submission(item, self.loaded.assignment, self.loaded.folder)
        except Exception as error:  # noqa: BLE001 - an error in intake is ours, and recorded as ours
            return _Failed(name=item.name, error=error)

    def _graded_before(self, submission: Loaded) -> GradeRecord | None:
        """Return the record to keep; None for our own failures, and if `force` is set.

        A record made without a sandbox is kept only in a run without one, and vice versa, because
        all pages of an unconfined run say that it is one.
        """
        if self.options.force or isinstance(submission, _Failed):
            return None
        done = self.store.find(submission.name, submission.sha256, self.loaded.plan.sha256)
        if done is None or done.judgement.status is Status.UNGRADED:
            return None
        if done.judgement.status is Status.REJECTED and (
            not isinstance(submission, Rejected) or done.judgement.message != submission.text
        ):
            return None  # this version of the grader can read it, or says better why not
        was_unconfined = done.measurement.sandbox == "none"
        return done if was_unconfined == (self.options.sandbox == "none") else None

    def _grade(self, submission: Loaded, tools: Tools) -> GradeRecord:
        if isinstance(submission, _Failed):
            return self._fail(submission, submission.error)
        try:
            return grade(submission, self.loaded, tools)
        except StoreError:
            raise  # no record can be committed any more: stop, and resume later
        except Exception as error:  # noqa: BLE001 - as above: recorded as ours, never a zero
            return self._fail(submission, error)
