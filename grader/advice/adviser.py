"""Compiles a submission's Triton kernels in a sandbox and reports the results as advice.

Advice never changes a grade: a failure here only means less advice. Kernels see public inputs only.

Sandboxes that grade on a CPU interpret Triton. This one has no device either, but it compiles. It
starts when the first submission mentions Triton, and one submission at a time uses it.
"""

import time
from dataclasses import replace

from grader.advice.claims import MAX_TEXT, advise_on_cuda, read_claims
from grader.advice.kernel_advice import NO_ADVICE, Advice
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.steps import CaseSteps, Expect, Step, tap
from grader.correctness.instances import instances
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.evidence.observations import CaseMeasurement
from grader.intake.submission import Origin, Submission
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxOnDemand
from grader.worker.session import Session, open_session

TRIGGER = "triton"
"""Word in a submission's text for which the sandbox is started; it has no other effect."""
SUBMISSION_SECONDS = 60.0
CALL_SECONDS = 50.0
"""More than `COMPILE_SECONDS` of `runner.ahead_of_time`, the limit on all compilations."""
MEMORY_BYTES = 2 << 30
PROCESSES = 64
"""At least so many, for the compiler and the assembler that it starts."""

NOT_MADE = "The advice could not be made this time. Your grade does not depend on it."
NOT_IMPORTED = (
    "Your submission could not be imported where Triton compiles instead of interpreting, so its "
    "kernels were not compiled."
)
ENDED = "Not all kernels were compiled, because compiling ended early:"
CUT_SHORT = "Not all kernels were compiled: there is a limit on how many, and on the time for it."


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
        limits = loaded.plan.limits
        self._limits = replace(  # raised where they are too small for compiling
            limits,
            call_wall_s=CALL_SECONDS,
            memory_bytes=max(limits.memory_bytes, MEMORY_BYTES),
            processes=max(limits.processes, PROCESSES),
        )
        self._sandbox = SandboxOnDemand(
            sandbox,
            self._limits,
            isolation=isolation,
            device="compile",
            image=image,
            first_slot=first_slot,
        )

    def advise(self, submission: Submission, *, compiler_output: str = "") -> Advice:
        """Return advice on a submission's kernels; never raises, because grades do not need it.

        `compiler_output` is that of the CUDA compiler; it is empty if nothing was compiled.
        """
        if submission.origin is Origin.CUDA:
            return advise_on_cuda(compiler_output)
        if not any(TRIGGER in file.text for file in submission.files):
            return NO_ADVICE
        run = _AdviceRun(submission, self._loaded)
        try:
            with (
                self._sandbox.borrow() as sandbox,
                open_session(sandbox, submission, limits=self._limits) as session,
            ):
                run.run_cases(session)
        except Exception as error:  # noqa: BLE001 - whatever fails, the grade is made without it
            run.stop(NOT_MADE, error)
        return run.advice

    def close(self) -> None:
        """Close the sandbox, if it was ever started."""
        self._sandbox.close()


class _AdviceRun:
    """Runs one submission's public cases and keeps the last complete report on its kernels."""

    def __init__(self, submission: Submission, loaded: LoadedAssignment) -> None:
        self._submission = submission
        self._loaded = loaded
        self.advice = NO_ADVICE

    def stop(self, notice: str, error: Exception) -> None:
        """Note why there is no further advice."""
        detail = f"{type(error).__name__}: {error}"[:MAX_TEXT]
        self.advice = replace(self.advice, notice=notice, detail=detail)

    def run_cases(self, session: Session) -> None:
        """Load the submission and run its public cases.

        Raises:
            Stopped, ChannelError: the sandboxed process ended, or its report has an unknown form.
        """
        deadline_s = time.monotonic() + SUBMISSION_SECONDS
        try:
            session.load(self._loaded.harness)
        except (Raised, Stopped) as error:
            self.stop(NOT_IMPORTED, error)
            return
        self._note(session)
        plan, cases = self._loaded.plan, self._loaded.cases
        public_cases = (
            instance
            for problem in plan.problems
            for instance in instances(plan, problem, cases)
            if instance.public
        )
        for instance in public_cases:
            steps = _without_comparisons(instance.steps(), deadline_s)
            case = instance.run(session, steps)
            if not session.alive:
                self._end(case)
                return
            session.end_case()
            self._note(session)
            if time.monotonic() > deadline_s:
                self.advice = replace(self.advice, notice=CUT_SHORT)
                return

    def _end(self, case: CaseMeasurement) -> None:
        """Note why the sandboxed process ended during a case."""
        (fault,) = case.faults
        ours = fault.kind is FaultKind.INFRASTRUCTURE
        notice = NOT_MADE if ours else f"{ENDED} {fault.message}."
        detail = f"{case.check}: {fault.kind}: {fault.message}"[:MAX_TEXT]
        self.advice = replace(self.advice, notice=notice, detail=detail)

    def _note(self, session: Session) -> None:
        kernels, left_out = read_claims(session.ask("kernels"), self._submission)
        self.advice = Advice(kernels=kernels, notice=CUT_SHORT if left_out else "", detail="")


def _without_comparisons(steps: CaseSteps, deadline_s: float) -> CaseSteps:
    """Pass on what a case asks of the worker until the deadline; no oracle is computed."""

    def on_step(step: Step) -> Step | None:
        if time.monotonic() > deadline_s:
            raise Stopped(Fault(kind=FaultKind.TIMEOUT, message=CUT_SHORT))
        return None if isinstance(step, Expect) else step

    return tap(steps, on_step)
