"""Attack 30: kernels that only the interpreter accepts, and submissions that forge the advice.

The compiler runs in a sandbox without a device; its report is advice and changes no grade."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from grader.advice import adviser as adviser_module
from grader.advice.adviser import CUT_SHORT, ENDED, NOT_IMPORTED, NOT_MADE, Adviser
from grader.advice.kernel_advice import NO_ADVICE, Advice, KernelAdvice, KernelOutcome
from grader.assignment.loaded import LoadedAssignment
from grader.intake.submission import CellLine, Origin, SourceFile, Submission
from grader.judge.judgement import Cause
from grader.runner.ahead_of_time import MAX_FINDINGS, MAX_UNREACHED
from grader.runner.worker import WorkerProcess
from grader.sandbox.contract import Isolation
from grader.sandbox.image import DEFAULT_IMAGE
from tests.hostile.conftest import SANDBOXES, Attack
from tests.hostile.honest import HONEST

KERNELS = """
import os

os.environ["TRITON_INTERPRET"] = "1"  # as many notebooks begin

import torch
import triton
import triton.language as tl


@triton.jit
def plain_kernel(x_ptr, out_ptr, factor, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = at < n
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=inside) * factor, mask=inside)


@triton.autotune(
    configs=[
        triton.Config({"BLOCK": 256}, num_warps=8),
        triton.Config({"BLOCK": 64}, num_warps=2),
    ],
    key=["n"],
)
@triton.jit
def tuned_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n), mask=at < n)


@triton.heuristics({"BLOCK": lambda arguments: triton.next_power_of_2(arguments["n"])})
@triton.jit
def sized_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, tl.load(x_ptr + at, mask=at < n), mask=at < n)


@triton.jit
def list_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    parts = []
    parts.append(tl.load(x_ptr + at, mask=at < n))  # LINE: list
    tl.store(out_ptr + at, parts[0], mask=at < n)


@triton.jit
def dict_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    parts = {"x": tl.load(x_ptr + at, mask=at < n)}  # LINE: dict
    tl.store(out_ptr + at, parts["x"], mask=at < n)


@triton.jit
def raising(x):
    try:  # LINE: try
        return x + 1
    except ValueError:
        return x


@triton.jit
def calling_kernel(x_ptr, out_ptr, n, BLOCK: tl.constexpr):
    at = tl.arange(0, BLOCK)
    tl.store(out_ptr + at, raising(tl.load(x_ptr + at, mask=at < n)), mask=at < n)


@triton.jit
def spare_kernel(x_ptr):
    tl.store(x_ptr, 0.0)


def scale(x, factor):
    out, n = torch.empty_like(x), x.numel()
    grid = lambda meta: (triton.cdiv(n, meta["BLOCK"]),)
    tuned_kernel[grid](x, out, n)
    sized_kernel[(1,)](x, out, n)
    for kernel in (list_kernel, dict_kernel, calling_kernel):
        kernel[(1,)](x, out, n, BLOCK=256)
    plain_kernel[grid](x, out, factor, n, BLOCK=128)
    return out
"""

COUNTER = HONEST[HONEST.index("class Counter") :]
HONEST_MENTIONS_TRITON = HONEST + "# no triton here\n"

FORGES = (
    HONEST_MENTIONS_TRITON
    + """
import gc

for thing in gc.get_objects():
    if type(thing).__name__ == {worker!r}:
        report = {report}
        thing.further = {{"kernels": lambda _: report}}
"""
)
FORGED_FINDING = {
    "kernel": "perfect_kernel",
    "frame": ["submission.py", 1, "perfect_kernel"],
    "target": 90,
    "arguments": "all 10 of 10 points",
    "registers": 1,
    "spill_bytes": 0,
    "shared_bytes": 0,
    "warps": 32,
}


def work(source: str) -> Submission:
    return Submission(
        name="attack",
        sha256="0" * 64,
        origin=Origin.MODULE,
        entry="submission",
        files=(SourceFile(name="submission.py", text=source),),
    )


def line_of(mark: str, source: str = KERNELS) -> int:
    """Return the line, counted from 1, that ends with a mark."""
    (line,) = [n for n, text in enumerate(source.split("\n"), 1) if f"# LINE: {mark}" in text]
    return line


@pytest.fixture(scope="module", params=SANDBOXES)
def adviser(request: pytest.FixtureRequest, target: LoadedAssignment) -> Iterator[Adviser]:
    made = Adviser(
        target,
        sandbox=request.param,
        isolation=Isolation.WARM,
        image=DEFAULT_IMAGE,
        first_slot=2,
    )
    with closing(made):
        yield made


@pytest.fixture(scope="module")
def advice(adviser: Adviser) -> Advice:
    return adviser.advise(work(KERNELS + COUNTER))


def about(advice: Advice, kernel: str) -> list[KernelAdvice]:
    found = [entry for entry in advice.kernels if entry.kernel == kernel]
    assert found, f"{kernel} is not in {advice}"
    return found


@pytest.mark.parametrize(
    ("kernel", "warps", "block"),
    [
        ("plain_kernel", 4, "BLOCK = 128"),
        ("tuned_kernel", 8, "BLOCK = 256"),
        ("sized_kernel", 4, "BLOCK = "),
    ],
)
def test_good_kernels_compile_for_both_targets(
    advice: Advice, kernel: str, warps: int, block: str
) -> None:
    entries = about(advice, kernel)
    assert {entry.target for entry in entries} == {"sm_80", "sm_90"}
    for entry in entries:
        assert entry.outcome is KernelOutcome.COMPILES, entry.message
        assert block in entry.arguments
        assert "x_ptr: *fp32" in entry.arguments
        (resources,) = entry.resources
        assert resources.warps == warps
        assert 4 <= resources.registers <= 64
        assert resources.spill_bytes == 0
        assert resources.occupancy > 0.5


@pytest.mark.parametrize(
    ("kernel", "mark", "message"),
    [
        ("list_kernel", "list", "append"),
        ("dict_kernel", "dict", "unsupported AST node type: Dict"),
        ("calling_kernel", "try", "unsupported AST node type: Try"),
    ],
)
def test_what_only_the_interpreter_accepts_is_named_with_its_line(
    advice: Advice, kernel: str, mark: str, message: str
) -> None:
    entries = about(advice, kernel)
    assert {entry.target for entry in entries} == {"sm_80", "sm_90"}
    for entry in entries:
        assert entry.outcome is KernelOutcome.FAILS
        assert message in entry.message
        assert entry.message_location == f"submission.py, line {line_of(mark)}"


def test_what_no_case_launches_is_named(advice: Advice) -> None:
    (entry,) = about(advice, "spare_kernel")
    assert entry.outcome is KernelOutcome.NOT_REACHED
    # A function that a kernel calls is no kernel that was missed.
    assert "raising" not in {entry.kernel for entry in advice.kernels}
    assert advice.notice == advice.detail == ""


def test_locations_are_those_of_the_notebook(adviser: Adviser) -> None:
    source = KERNELS + COUNTER
    lines = source.count("\n") + 1
    cells = tuple(CellLine(cell=7, line=line) for line in range(1, lines + 1))
    submission = Submission(
        name="notebook",
        sha256="0" * 64,
        origin=Origin.NOTEBOOK,
        entry="submission",
        files=(SourceFile(name="submission.py", text=source, cell_lines=cells),),
    )
    for entry in about(adviser.advise(submission), "dict_kernel"):
        assert entry.message_location == f"cell 7, line {line_of('dict')}"


def test_without_the_word_no_sandbox_is_started(target: LoadedAssignment) -> None:
    made = Adviser(
        target, sandbox="no such sandbox", isolation=Isolation.WARM, image="", first_slot=2
    )
    with closing(made):
        assert made.advise(work(HONEST)) == NO_ADVICE


def test_a_sandbox_that_cannot_be_started_is_reported_and_costs_nothing(
    target: LoadedAssignment,
) -> None:
    made = Adviser(
        target, sandbox="no such sandbox", isolation=Isolation.WARM, image="", first_slot=2
    )
    with closing(made):
        told = made.advise(work(HONEST_MENTIONS_TRITON))
    assert (told.kernels, told.notice) == ((), NOT_MADE)
    assert "no such sandbox" in told.detail


@pytest.mark.parametrize(
    ("end", "notice"),
    [
        ("raise RuntimeError('at import')\n", ""),  # the rest was loaded, and its kernels compiled
        ("def scale(x:\n", NOT_IMPORTED),
        ("import os\nos._exit(3)\n", NOT_IMPORTED),
        (
            "def scale(x, factor):\n    import os\n    os._exit(3)\n",
            f"{ENDED} its process exited early.",
        ),
        (
            "def scale(x, factor):\n    import ctypes\n    ctypes.string_at(0)\n",
            f"{ENDED} its process was ended by SIGSEGV.",
        ),
    ],
)
def test_a_worker_that_ends_leaves_a_notice(adviser: Adviser, end: str, notice: str) -> None:
    assert adviser.advise(work(HONEST_MENTIONS_TRITON + end)).notice == notice
    assert adviser.advise(work(HONEST_MENTIONS_TRITON)) == NO_ADVICE  # the sandbox goes on


@pytest.mark.bwrap
@pytest.mark.parametrize(
    ("pause_s", "notice"),
    [(30.0, f"{ENDED} it did not return within the time limit."), (0.7, CUT_SHORT)],
)
def test_a_worker_that_takes_too_long_is_cut_short(
    target: LoadedAssignment, monkeypatch: pytest.MonkeyPatch, pause_s: float, notice: str
) -> None:
    monkeypatch.setattr(adviser_module, "CALL_SECONDS", 1.5)
    monkeypatch.setattr(adviser_module, "SUBMISSION_SECONDS", 1.0)
    source = (
        f"{HONEST_MENTIONS_TRITON}import time\ndef scale(x, factor):\n    time.sleep({pause_s})\n"
    )
    made = Adviser(target, sandbox="bwrap", isolation=Isolation.WARM, image="", first_slot=4)
    with closing(made):
        assert made.advise(work(source)).notice == notice


def test_many_kernels_end_at_a_limit(adviser: Adviser) -> None:
    kernel = "@triton.jit\ndef kernel_{0}(x):\n    {{}}\n"
    source = "import triton\n" + "".join(kernel.format(n) for n in range(100))
    launches = "".join(f"    kernel_{n}[(1,)](x)\n" for n in range(40))
    told = adviser.advise(work(f"{source}def scale(x, factor):\n{launches}    return x\n{COUNTER}"))
    assert told.notice == CUT_SHORT
    outcomes = [entry.outcome for entry in told.kernels]
    assert outcomes.count(KernelOutcome.FAILS) == MAX_FINDINGS
    assert outcomes.count(KernelOutcome.NOT_REACHED) == MAX_UNREACHED


@pytest.mark.parametrize(
    "report",
    [
        "{'findings': [], 'unreached': [], 'left_out': False, 'score': 10}",
        "{'findings': [{'kernel': '<script>'}], 'unreached': [], 'left_out': False}",
        "[[[[]]]]",
        "'PASS'",
    ],
)
def test_forged_advice_of_another_form_is_refused(adviser: Adviser, report: str) -> None:
    told = adviser.advise(work(FORGES.format(report=report, worker=WorkerProcess.__name__)))
    assert told.kernels == ()
    assert told.notice in (NOT_MADE, NOT_IMPORTED)


def test_a_forgery_that_raises_is_loaded_without_it(adviser: Adviser) -> None:
    forges = FORGES.format(report="x_that_is_not_defined", worker=WorkerProcess.__name__)
    told = adviser.advise(work(forges))
    assert (told.kernels, told.notice) == ((), "")


def test_forged_advice_of_the_known_form_is_shown_and_worth_nothing(
    adviser: Adviser, attack: Attack
) -> None:
    report = {"findings": [FORGED_FINDING], "unreached": [], "left_out": False}
    source = (
        FORGES.format(report=report, worker=WorkerProcess.__name__)
        + "\ndef scale(x, factor):\n    return x\n"
    )
    (entry,) = adviser.advise(work(source)).kernels
    assert entry.kernel == "perfect_kernel"
    result = attack(source)
    assert result.cause("scale") is Cause.WRONG_VALUE
    assert result.cause("Counter") is Cause.NONE
