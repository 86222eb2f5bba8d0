"""A child that is denied operators cannot compute with torch; the next one can again."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from grader.assignment.steps import Call
from grader.evidence.faults import Raised
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.denial import denied_here
from grader.runner.order import NO_DENIAL, Denial
from grader.worker.session import open_session
from tests.conformance.conftest import LIMITS
from tests.unit.runner.corpus import operators

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
    x = torch.ones(2, 2)

    def ask(name, *, denial, args=1):
        with open_session(sandbox, SUBMISSION, limits=LIMITS, denial=denial) as session:
            session.load()
            return session.call(Call(name, *(x for _ in range(args))))

    return ask


def test_each_child_is_denied_what_its_problem_says(asked):
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


def test_the_same_operators_are_refused_in_a_check_and_in_grading(sandbox):
    """What moves numbers is allowed; what reads, compares, places or computes them is not."""
    x, at = torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.int64)
    text = Path(operators.__file__).read_text("utf-8")
    submission = replace(SUBMISSION, files=(SourceFile(name="denied.py", text=text),))
    with denied_here("product", KERNEL.entries):
        here = operators.refused(x.clone(), at)
    with open_session(sandbox, submission, limits=LIMITS, denial=KERNEL) as session:
        session.load()
        there = session.call(Call("refused", x, at))
    assert here == there == list(operators.OTHERS)
