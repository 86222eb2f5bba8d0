"""What the compiler's worker may reply, and what follows from it; no compiler runs here."""

import ast
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from grader.assignment.launcher import read_launcher
from grader.assignment.loaded import LoadedAssignment, load_assignment_with_reference
from grader.correctness.run import measure
from grader.cuda_cpp import builder as building
from grader.cuda_cpp.builder import Builder, Built, architectures, entry_module
from grader.errors import SandboxError
from grader.evidence.faults import Fault, FaultKind, Stopped
from grader.intake.submission import Origin, SourceFile, Submission
from grader.judge.judge import judge
from grader.judge.judgement import Cause, Status, Verdict
from grader.sandbox.contract import Isolation
from grader.worker.machine import TimedMachine

ASSIGNMENTS = Path(__file__).resolve().parents[3]
WORK = Submission(
    name="ada",
    sha256="0" * 64,
    origin=Origin.CUDA,
    entry="work",
    files=(SourceFile(name="work.cu", text="int x;\nint y\n"),),
)
ELF = torch.tensor([0x7F, 0x45, 0x4C, 0x46], dtype=torch.uint8)
COMPILED = {"missing": "", "status": 0, "output": "ptxas info", "library": [ELF]}
REFUSED = {"missing": "", "status": 2, "output": 'work.cu(2): error: expected a ";"', "library": []}


class NoSandboxes:
    """Lends no sandbox; the session is a fake."""

    sandbox, isolation, caveats = "none", "warm", ()

    @contextmanager
    def borrow(self) -> Iterator[None]:
        yield None

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def loaded() -> LoadedAssignment:
    return load_assignment_with_reference(
        ASSIGNMENTS / "assignments" / "gpu_kernels",
        ASSIGNMENTS / "reference" / "gpu_kernels",
        device="cpu",
        seed="a",
    )


def build(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment, reply: Any, oom_kills: int = 0
) -> Built:
    """Build with a worker that answers `reply`, or raises it."""
    asked: list[dict[str, Any]] = []

    class Session:
        def __init__(self) -> None:
            self.oom_kills = oom_kills

        def ask(self, operation: str, fields: dict[str, Any]) -> Any:
            asked.append({**fields, "op": operation})
            if isinstance(reply, Exception):
                raise reply
            return reply

    @contextmanager
    def play(*_: Any, **__: Any) -> Iterator[Session]:
        yield Session()

    monkeypatch.setattr(building, "open_session", play)
    monkeypatch.setattr(building, "SandboxOnDemand", lambda *_, **__: NoSandboxes())
    maker = Builder(loaded, sandbox="none", isolation=Isolation.WARM, image="", first_slot=0)
    built = maker.build(WORK)
    (request,) = asked
    assert (request["op"], request["entry"]) == ("build", "work.cu")
    assert request["header"]["name"] == "gpu_kernels.h"
    return built


def test_what_compiles_becomes_a_module_and_a_library(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment
) -> None:
    built = build(monkeypatch, loaded, COMPILED)
    assert built.faults == ()
    made = built.submission
    assert (made.origin, made.entry, made.files[0].name) == (
        Origin.CUDA,
        "submission",
        "submission.py",
    )
    assert [(b.name, b.content) for b in made.binaries] == [("lib_submission.so", b"\x7fELF")]


def test_the_module_names_the_launchers_and_the_library() -> None:
    launcher = read_launcher("f", ["x_M", "eps: double = 1e-6"], ["y_M: x_M"])
    tree = ast.parse(entry_module((launcher,)))
    call = tree.body[-1]
    assert isinstance(call, ast.Expr)
    assert isinstance(call.value, ast.Call)
    path, forms, _ = call.value.args
    assert "/lib_submission.so" in ast.unparse(path)
    assert json.loads(ast.literal_eval(forms)) == json.loads(json.dumps([asdict(launcher)]))


def test_what_does_not_compile_is_the_students(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment
) -> None:
    (fault,) = build(monkeypatch, loaded, REFUSED).faults
    assert (fault.kind, fault.where) == (FaultKind.EXCEPTION, "work.cu, line 2")
    assert fault.message == 'the submission could not be compiled: expected a ";"'


@pytest.mark.parametrize("kind", [FaultKind.TIMEOUT, FaultKind.OUT_OF_MEMORY])
def test_what_takes_too_long_or_too_much_is_the_students(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment, kind: FaultKind
) -> None:
    (fault,) = build(monkeypatch, loaded, Stopped(Fault(kind=kind, message="why"))).faults
    assert (fault.kind, fault.message) == (kind, "the submission could not be compiled: why")


def test_a_compiler_that_starved_ran_out_of_memory(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment
) -> None:
    (fault,) = build(monkeypatch, loaded, {**REFUSED, "output": "Killed"}, oom_kills=1).faults
    assert fault.kind is FaultKind.OUT_OF_MEMORY
    assert build(monkeypatch, loaded, COMPILED, oom_kills=1).faults == ()


@pytest.mark.parametrize("lacks", ["nvcc", "g++"])
def test_a_compiler_that_is_not_there_is_ours_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment, lacks: str
) -> None:
    built = build(monkeypatch, loaded, {**COMPILED, "missing": lacks, "library": []})
    (fault,) = built.faults
    assert (built.lacks, fault.kind) == (lacks, FaultKind.INFRASTRUCTURE)
    assert "pip install 'llm-systems-grader[cuda]'" in fault.message


@pytest.mark.parametrize(
    "reply",
    [
        None,
        [],
        {**COMPILED, "more": 1},
        {**COMPILED, "status": "0"},
        {**COMPILED, "output": 3},
        {**COMPILED, "library": ["a"]},
        {**COMPILED, "library": [torch.ones(3)]},
    ],
)
def test_a_reply_of_another_form_is_no_library(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment, reply: Any
) -> None:
    built = build(monkeypatch, loaded, reply)
    assert [fault.kind for fault in built.faults] == [FaultKind.BAD_REPLY]
    assert built.submission.binaries == ()


def test_a_sandbox_that_fails_is_our_fault(
    monkeypatch: pytest.MonkeyPatch, loaded: LoadedAssignment
) -> None:
    (fault,) = build(monkeypatch, loaded, SandboxError("gone")).faults
    assert fault.kind is FaultKind.INFRASTRUCTURE


def test_python_needs_no_compiler(loaded: LoadedAssignment) -> None:
    maker = Builder(loaded, sandbox="no such", isolation=Isolation.WARM, image="", first_slot=0)
    module = Submission(
        name="bob",
        sha256="",
        origin=Origin.MODULE,
        entry="work",
        files=(SourceFile(name="work.py", text=""),),
    )
    assert maker.build(module) == Built(submission=module)
    maker.close()


@pytest.mark.parametrize(
    ("device", "names"),
    [
        ("cuda:h200", ("sm_90a",)),
        ("cuda:t4", ("sm_75",)),
        ("cuda:*", ("compute_75", "sm_80", "sm_90a")),
        ("cpu", ("compute_75", "sm_80", "sm_90a")),
    ],
)
def test_architectures_are_those_of_the_device(device: str, names: tuple[str, ...]) -> None:
    assert architectures(device) == names


def grade(loaded: LoadedAssignment, kind: FaultKind) -> Any:
    fault = Fault(kind=kind, message="why", where="work.cu, line 2")
    sandboxes: Any = NoSandboxes()
    measured = measure(WORK, loaded, sandboxes=sandboxes, machine=TimedMachine(), faults=(fault,))
    return judge(loaded.plan, measured)


def test_an_error_of_the_compiler_fails_every_check(loaded: LoadedAssignment) -> None:
    checks = [check for check in grade(loaded, FaultKind.EXCEPTION).checks if check.cases]
    assert {(c.verdict, c.cause) for c in checks} == {(Verdict.FAIL, Cause.CRASH)}
    assert "work.cu, line 2" in checks[0].summary


def test_without_a_device_nothing_fails_and_nothing_is_given(loaded: LoadedAssignment) -> None:
    judged = grade(loaded, FaultKind.NO_DEVICE)
    assert {(c.verdict, c.cause) for c in judged.checks} == {(Verdict.UNGRADED, Cause.NO_DEVICE)}
    assert (judged.status, judged.score) == (Status.PROVISIONAL, 0)
    assert judged.ungraded_points == judged.max_score
