"""Triton kernels on a machine without a device are interpreted, also autotuned ones."""

from pathlib import Path

import pytest

from grader.assignment.steps import Call
from grader.assignment.table import Limits
from grader.intake.submission import Origin, SourceFile, Submission
from grader.runner.order import Denial
from grader.worker.session import open_session
from tests.unit.runner.corpus import expected
from tests.unit.runner.corpus.expected import CORPUS
from tests.unit.runner.corpus.play import differences

TUNED = """
import torch
import triton
import triton.language as tl


@triton.autotune(
    [triton.Config({"BLOCK": 16}), triton.Config({"BLOCK": 64}, num_warps=8)], key=["n"]
)
@triton.heuristics({"EVEN": lambda args: args["n"] % args["BLOCK"] == 0})
@triton.jit
def add_one(x, out, n, BLOCK: tl.constexpr, EVEN: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + at, tl.load(x + at, at < n) + 1 + EVEN, at < n)


def more(x):
    out = torch.empty_like(x)
    add_one[lambda meta: (triton.cdiv(x.numel(), meta["BLOCK"]),)](x, out, x.numel())
    return out
"""


def test_an_autotuned_kernel_uses_its_first_configuration(sandbox):
    """5 numbers: one block of 16, not even; 16 numbers: even for 16 and not for 64."""
    import torch

    submission = Submission(
        name="tuned",
        sha256="",
        origin=Origin.MODULE,
        entry="tuned",
        files=(SourceFile(name="tuned.py", text=TUNED),),
    )
    with open_session(sandbox, submission, limits=Limits()) as session:
        session.load()
        assert torch.equal(session.call(Call("more", torch.zeros(5))), torch.ones(5))
        assert torch.equal(session.call(Call("more", torch.zeros(16))), torch.full((16,), 2.0))


@pytest.mark.parametrize("module", sorted(CORPUS))
def test_the_corpus_runs_where_work_is_graded(sandbox, module):
    """Under the denial of all operators that compute: a kernel's wrapper needs none of them."""
    text = (Path(expected.__file__).parent / f"{module}.py").read_text("utf-8")
    submission = Submission(
        name=module,
        sha256="",
        origin=Origin.MODULE,
        entry=module,
        files=(SourceFile(name=f"{module}.py", text=text),),
    )
    denial = Denial(problem=module, entries=("@compute",))
    wrong = {}
    with open_session(sandbox, submission, limits=Limits(), denial=denial) as session:
        session.load()
        for name, (arguments, want) in CORPUS[module].items():
            got = session.call(Call(name, *arguments))
            wrong[name] = differences(got, want(*arguments))
    assert not any(wrong.values()), wrong
