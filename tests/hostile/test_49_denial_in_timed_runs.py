"""Be a kernel while checked and torch while timed; and a reference that is no kernel itself."""

from dataclasses import replace

from grader.assignment.loaded import LoadedAssignment
from grader.intake.submission import Submission
from grader.judge.judgement import Cause, Verdict
from grader.sandbox.pool import SandboxPool
from tests.hostile.kernel_honest import KERNEL
from tests.hostile.race import race

TORCH_WHEN_TIMED = """
own = product
CALLS = []

def product(a, b):
    CALLS.append(1)
    return own(a, b) if len(CALLS) <= 4 else a @ b
"""


def test_torch_in_a_timed_run_is_forbidden(
    denial_target: LoadedAssignment, denial_sandboxes: SandboxPool
) -> None:
    result = race(KERNEL + TORCH_WHEN_TIMED, denial_target, denial_sandboxes, "speed")
    assert result.check("values").verdict is Verdict.PASS
    assert result.cause("speed") is Cause.FORBIDDEN, result.check("speed").summary
    assert result.check("speed").points == 0


def test_the_reference_is_denied_the_same(
    denial_target: LoadedAssignment, denial_sandboxes: SandboxPool
) -> None:
    loaded = replace(
        denial_target,
        solution=Submission.of_text("reference", "def product(a, b):\n    return a @ b\n").files,
    )
    result = race(KERNEL, loaded, denial_sandboxes, "speed")
    assert result.check("values").verdict is Verdict.PASS
    assert result.cause("speed") is Cause.AUTHOR, result.check("speed").summary
