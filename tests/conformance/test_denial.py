"""A child that is denied operators cannot compute with torch; the next one can again."""

import pytest

from grader.assignment.steps import Call
from grader.evidence.faults import Raised
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.order import NO_DENIAL, Denial
from grader.worker.session import open_session
from tests.conformance.conftest import LIMITS

SOURCE = """
import os, subprocess, sys
import torch

def product(a, b):
    return a @ b

def soft(a):
    return torch.softmax(a, dim=0)

def copied(a):
    out = torch.empty_like(a)
    return out.copy_(a)

def programs():
    try:
        return subprocess.run([sys.executable, "-c", "pass"]).returncode
    except OSError as error:
        return type(error).__name__

def libraries():
    try:
        return "libtorch_cpu.so" in os.listdir(os.path.join(os.path.dirname(torch.__file__), "lib"))
    except OSError:
        return False
"""
SUBMISSION = Submission(
    name="denied",
    sha256="",
    origin=Origin.MODULE,
    entry="denied",
    files=(SourceFile(name="denied.py", text=SOURCE),),
)
KERNEL = Denial(problem="product", entries=("@compute",))
SOFTMAX = Denial(problem="soft", entries=("aten::softmax",))


@pytest.fixture
def asked(sandbox):
    import torch

    x = torch.ones(2, 2)

    def ask(name, *, denial, args=1):
        with open_session(sandbox, SUBMISSION, limits=LIMITS, denial=denial) as session:
            session.load()
            return session.call(Call(name, *(x for _ in range(args))))

    return ask


def test_each_child_is_denied_what_its_problem_says(asked):
    import torch

    for denial, refused, allowed in (
        (KERNEL, {"product": 2, "soft": 1}, {"copied": 1}),
        (SOFTMAX, {"soft": 1}, {"product": 2, "copied": 1}),
        (NO_DENIAL, {}, {"product": 2, "soft": 1, "copied": 1}),
        (KERNEL, {"product": 2, "soft": 1}, {"copied": 1}),
    ):
        for name, args in refused.items():
            with pytest.raises(Raised, match=f"is denied in the problem {denial.problem}:"):
                asked(name, denial=denial, args=args)
        for name, args in allowed.items():
            assert isinstance(asked(name, denial=denial, args=args), torch.Tensor)


def test_a_denied_child_starts_no_program(asked):
    assert asked("programs", denial=KERNEL, args=0) == "PermissionError"
    assert asked("programs", denial=NO_DENIAL, args=0) != "PermissionError"


def test_a_child_with_mounts_of_its_own_does_not_see_torchs_libraries(asked, kind):
    hidden = kind.name == "bwrap"
    assert asked("libraries", denial=KERNEL, args=0) is not hidden
    assert asked("libraries", denial=NO_DENIAL, args=0) is True
