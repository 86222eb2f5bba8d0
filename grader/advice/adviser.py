"""Has a submission's kernels compiled behind a wall of their own, and tells what came of it.

Takes: a course and what was handed in. Gives: `Adviser`, whose `advise` returns `Advice`. Does not
cover: grading. It runs beside it, on public inputs only, and whatever fails here is told as a
missing piece of advice.

The wall has no device and a Triton that compiles, where the walls that grade on a CPU have one that
interprets. It starts when the first submission speaks of Triton, and is lent to one at a time.
"""

import time
from dataclasses import replace

from grader.advice.claims import MAX_TEXT, read_claims
from grader.advice.cuda_kernels import advise_on_cuda
from grader.advice.kernel_advice import NO_ADVICE, Advice, KernelAdvice
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import CaseSteps, Expect, Step, tap
from grader.assignment.table import Limits
from grader.correctness.instances import Instance, instances
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.evidence.observations import CaseMeasurement
from grader.intake.submission import Origin, Submission
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxOnDemand
from grader.worker.session import Session, open_session

TRIGGER = "triton"
"""What a submission's text must hold for a wall to be started; it decides nothing else."""
SUBMISSION_SECONDS = 60.0
CALL_SECONDS = 50.0
"""More than the box gives all its compilations (`COMPILE_SECONDS` of `runner.ahead_of_time`)."""
MEMORY_BYTES = 2 << 30
PROCESSES = 64
"""At least, for the compiler and the assembler that it starts."""

NOT_MADE = "The advice could not be made this time. Your grade does not depend on it."
NOT_IMPORTED = (
    "Your submission could not be imported where Triton compiles instead of interpreting, so its "
    "kernels were not compiled."
)
ENDED = "Not all kernels were compiled, because compiling ended before its time:"
CUT_SHORT = "Not all kernels were compiled: there is a limit on how many, and on the time for it."


def advice_limits(limits: Limits) -> Limits:
    """Return the limits of a box that compiles, where those of the assignment are too small."""
    return replace(
        limits,
        call_wall_s=CALL_SECONDS,
        memory_bytes=max(limits.memory_bytes, MEMORY_BYTES),
        processes=max(limits.processes, PROCESSES),
    )


class Adviser:
    """Advises on the submissions of one batch."""

    def __init__(
        self,
        loaded: LoadedAssignment,
        *,
        sandbox: str,
        isolation: Isolation,
        image: str,
        first_slot: int,
    ) -> None:
        self._loaded = loaded
        self._limits = advice_limits(loaded.plan.limits)
        self._sandbox_handle = SandboxOnDemand(
            sandbox,
            self._limits,
            isolation=isolation,
            device="compile",
            image=image,
            first_slot=first_slot,
        )

    def advise(self, submission: Submission, *, compiler_output: str = "") -> Advice:
        """Return advice on a submission's kernels; never raises, because no grade waits for it.

        Args:
            submission: as it was handed in.
            compiler_output: of the CUDA compiler; empty for a submission that needed none.
        """
        if submission.origin is Origin.CUDA:
            return advise_on_cuda(compiler_output)
        if not any(TRIGGER in file.text for file in submission.files):
            return NO_ADVICE
        capture = _Capture(submission, self._loaded)
        try:
            with (
                self._sandbox_handle.borrow() as sandbox,
                open_session(sandbox, submission, limits=self._limits) as session,
            ):
                capture.capture(session)
        except Exception as error:  # noqa: BLE001 - whatever fails, the grade is made without it
            capture.stop(NOT_MADE, error)
        return capture.advice()

    def close(self) -> None:
        """Take the wall down, if it was ever started."""
        self._sandbox_handle.close()


class _Capture:
    """Lets one submission launch its kernels, and keeps the last whole report about them."""

    def __init__(self, submission: Submission, loaded: LoadedAssignment) -> None:
        self._submission = submission
        self._loaded = loaded
        self._kernels: tuple[KernelAdvice, ...] = ()
        self._notice = ""
        self._detail = ""

    def advice(self) -> Advice:
        """Return what was heard so far."""
        return Advice(kernels=self._kernels, notice=self._notice, detail=self._detail)

    def stop(self, notice: str, error: Exception) -> None:
        """Note why there is no more to be heard."""
        self._notice = notice
        self._detail = f"{type(error).__name__}: {error}"[:MAX_TEXT]

    def capture(self, session: Session) -> None:
        """Load the submission and run its public cases.

        Raises:
            Stopped, ChannelError: the box ended, or what it says of kernels has no known form.
        """
        deadline_s = time.monotonic() + SUBMISSION_SECONDS
        try:
            session.load(self._loaded.harness)
        except (Raised, Stopped) as error:
            self.stop(NOT_IMPORTED, error)
            return
        self._note(session)
        for instance in self._public_cases():
            steps = _without_comparisons(instance.steps(), deadline_s)
            case = instance.run(session, steps)
            if not session.alive:
                self._end(case)
                return
            session.end_case()
            self._note(session)
            if time.monotonic() > deadline_s:
                self._notice = CUT_SHORT
                return

    def _end(self, case: CaseMeasurement) -> None:
        """Say why the box ended in the middle of a case."""
        (fault,) = case.faults
        ours = fault.kind is FaultKind.INFRASTRUCTURE
        self._notice = NOT_MADE if ours else f"{ENDED} {fault.message}."
        self._detail = f"{case.check}: {fault.kind}: {fault.message}"[:MAX_TEXT]

    def _note(self, session: Session) -> None:
        self._kernels, left_out = read_claims(session.ask("kernels"), self._submission)
        self._notice = CUT_SHORT if left_out else ""

    def _public_cases(self) -> list[Instance]:
        return [
            instance
            for problem in self._loaded.plan.problems
            for instance in instances(self._loaded.plan, problem, self._loaded.cases)
            if instance.public
        ]


def _without_comparisons(steps: CaseSteps, deadline_s: float) -> CaseSteps:
    """Pass on what a case asks of the worker until the deadline; no oracle is computed."""

    def on_step(step: Step) -> Step | None:
        if time.monotonic() > deadline_s:
            raise Stopped(Fault(kind=FaultKind.TIMEOUT, message=CUT_SHORT))
        return None if isinstance(step, Expect) else step

    return tap(steps, on_step)
