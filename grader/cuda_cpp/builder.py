"""Compiles submissions in CUDA C++ behind a wall of their own; all others pass unchanged.

Takes: a course and what was handed in. Gives: `Builder`, whose `build` returns `Built`. Does not
cover: the compiler's command (see `runner.cuda.nvcc`), loading and calling what it made.

A compiled submission is, for every later stage, one in Python: a module that names the launchers,
and beside it a library that no process but the student's box ever loads.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from grader.assignment.launcher import Launcher
from grader.assignment.loaded import LoadedAssignment
from grader.assignment.table import Assignment, Limits
from grader.cuda_cpp.header import header_name, write_header
from grader.errors import SandboxError
from grader.evidence.faults import Fault, FaultKind, Raised, Stopped
from grader.intake.submission import BinaryFile, Origin, SourceFile, Submission
from grader.runner.cuda.nvcc import MAX_LIBRARY_BYTES, MAX_OUTPUT_BYTES
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxOnDemand
from grader.worker.requests import location_of
from grader.worker.session import open_session

MAX_MESSAGE = 300

_ERRORS = (
    re.compile(r"^([^\s():]+)\((\d+)\): (?:catastrophic |fatal |internal )?error[^:]*: (.+)$"),
    re.compile(r"^([^\s():]+):(\d+):\d+: (?:fatal )?error: (.+)$"),
)
_WITHOUT_LOCATION = (
    re.compile(r"(undefined reference to .+)$"),
    re.compile(r"^.*\.s:\d+: Error: (.+)$"),
    re.compile(r"^ptxas .+; error\s+: (.+)$"),
    re.compile(r"^(?:nvcc|ptxas|cicc|\w+)\s+(?:fatal|error)\s*: (.+)$"),
    re.compile(r"^(?:.*: )?(?:fatal error|error|Error): (.+)$"),
)


def explain(compiler_output: str, submission: Submission) -> tuple[str, str]:
    """Return the first error and its place in what was handed in; the place may be empty.

    An error in a file that was not handed in is placed where that file's name or line does not
    matter: at the first line of the submission that the compiler names after it, if any.
    """
    lines = compiler_output.splitlines()
    for number, line in enumerate(lines):
        for pattern in _ERRORS:
            if match := pattern.match(line):
                rest = lines[number + 1 : number + 40]
                where = _location(submission, match[1], match[2]) or _next_location(
                    submission, rest
                )
                return _cut(match[3]), where
    for pattern in _WITHOUT_LOCATION:
        for line in lines:
            if match := pattern.search(line):
                return _cut(match[1]), ""
    return "the compiler said nothing that could be understood", ""


def _location(submission: Submission, name: str, line: str) -> str:
    return location_of(submission, [[name.removeprefix("./"), int(line[:9]), ""]])


def _next_location(submission: Submission, lines: list[str]) -> str:
    """Return the first place in the submission that other lines name, such as "at line 3 of"."""
    for line in lines:
        for name, number in re.findall(r"([\w.-]+)[(:](\d+)", line):
            if where := _location(submission, name, number):
                return where
        match = re.search(r'line (\d+) of "?([\w.-]+)', line)
        if match and (where := _location(submission, match[2], match[1])):
            return where
    return ""


def _cut(text: str) -> str:
    kept = "".join(c if c.isprintable() else "\ufffd" for c in text.strip())
    return kept if len(kept) <= MAX_MESSAGE else f"{kept[:MAX_MESSAGE]}…"


ENTRY = "submission"
LIBRARY = "lib_submission.so"
ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "cuda:h200": ("sm_90a",),
    "cuda:h100": ("sm_90a",),
    "cuda:a100": ("sm_80",),
    "cuda:t4": ("sm_75",),
}
"""Of device classes with one architecture."""
ANY_ARCHITECTURE = ("compute_75", "sm_80", "sm_90a")
"""Elsewhere, and without a device: the driver compiles the first for what the others do not fit."""
BUILD_LIMITS = Limits(
    call_wall_s=120.0,
    memory_bytes=4 << 30,
    processes=64,
    reply_bytes=MAX_LIBRARY_BYTES + (1 << 20),
)
STARVED = "the submission could not be compiled: the compiler used more memory than the limit"
REMEDY = (
    "install the toolkit beside the grader, pip install 'llm-systems-grader[cuda]', and g++; in "
    "containers, build the image from a base with g++ and a wheelhouse with those packages"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A submission that can go into a box, or why it cannot.

    Attributes:
        submission: as it goes into the box.
        faults: the one reason why it cannot be run at all; else none.
        compiler_output: of the compiler, untrusted; empty if none was needed.
        lacks: the program that is not there to compile it; empty if none was needed or all are.
    """

    submission: Submission
    faults: tuple[Fault, ...] = ()
    compiler_output: str = ""
    lacks: str = ""


def architectures(device: str) -> tuple[str, ...]:
    """Return what to compile for on a device class, in the compiler's names."""
    return ARCHITECTURES.get(device, ANY_ARCHITECTURE)


class Builder:
    """Builds the submissions of one batch."""

    def __init__(
        self,
        loaded: LoadedAssignment,
        *,
        sandbox: str,
        isolation: Isolation,
        image: str,
        first_slot: int,
    ) -> None:
        self._assignment = loaded.assignment
        self._device = loaded.plan.device
        self._sandbox_handle = SandboxOnDemand(
            sandbox,
            BUILD_LIMITS,
            isolation=isolation,
            device="nvcc",
            image=image,
            first_slot=first_slot,
        )

    def build(self, submission: Submission) -> Built:
        """Return a submission as it goes into the box; never raises for what is in it."""
        if submission.origin is not Origin.CUDA or submission.binaries:
            return Built(submission=submission)
        request = build_request(submission, self._assignment, architectures(self._device))
        try:
            with (
                self._sandbox_handle.borrow() as sandbox,
                open_session(sandbox, submission, limits=BUILD_LIMITS) as session,
            ):
                reply = session.ask("build", request)
                starved = session.oom_kills > 0
        except Stopped as stopped:
            return Built(submission=submission, faults=(_in_text(stopped.fault),))
        except (SandboxError, Raised) as error:
            return _not_built(submission, FaultKind.INFRASTRUCTURE, f"the compiler's box: {error}")
        built = _read(reply, submission, self._assignment.launchers)
        if starved and not built.submission.binaries and not built.lacks:
            return _not_built(submission, FaultKind.OUT_OF_MEMORY, STARVED)
        return built

    def close(self) -> None:
        """Take the wall down, if it was ever started."""
        self._sandbox_handle.close()


def entry_module(launchers: tuple[Launcher, ...]) -> str:
    """Return the module that stands for a library: it names the launchers that the library has."""
    forms = json.dumps([asdict(launcher) for launcher in launchers])
    return (
        "from runner.cuda import launchers\n\n"
        f'launchers.bind(__file__.rpartition("/")[0] + "/{LIBRARY}", {forms!r}, globals())\n'
    )


def _read(reply: Any, submission: Submission, launchers: tuple[Launcher, ...]) -> Built:  # noqa: ANN401 - what the box claims
    """Return what a reply amounts to, read strictly."""
    keys = {"missing": str, "status": int, "output": str, "library": list}
    known = isinstance(reply, dict) and set(reply) == set(keys)
    if not known or any(type(reply[key]) is not kind for key, kind in keys.items()):
        return _not_built(submission, FaultKind.BAD_REPLY, "the compiler's box gave no known reply")
    if reply["missing"]:
        lacks = reply["missing"][:20]
        message = f"no {lacks} where submissions are compiled: {REMEDY}"
        return replace(_not_built(submission, FaultKind.INFRASTRUCTURE, message), lacks=lacks)
    compiler_output = reply["output"][:MAX_OUTPUT_BYTES]
    if reply["status"] != 0 or not reply["library"]:
        words, where = explain(compiler_output, submission)
        message = f"the submission could not be compiled: {words}"
        fault = Fault(
            kind=FaultKind.EXCEPTION, message=message, detail=compiler_output, where=where
        )
        return Built(submission=submission, faults=(fault,), compiler_output=compiler_output)
    (library,) = reply["library"][:1]
    if not isinstance(library, torch.Tensor) or library.dtype != torch.uint8:
        return _not_built(submission, FaultKind.BAD_REPLY, "the compiler's box gave no library")
    made = replace(
        submission,
        entry=ENTRY,
        files=(SourceFile(name=f"{ENTRY}.py", text=entry_module(launchers)),),
        binaries=(BinaryFile(name=LIBRARY, content=library.contiguous().numpy().tobytes()),),
    )
    return Built(submission=made, compiler_output=compiler_output)


def _in_text(fault: Fault) -> Fault:
    """Return a fault of the box as one of compiling."""
    return replace(fault, message=f"the submission could not be compiled: {fault.message}")


def _not_built(submission: Submission, kind: FaultKind, message: str) -> Built:
    return Built(submission=submission, faults=(Fault(kind=kind, message=message),))


def build_request(
    submission: Submission, assignment: Assignment, architectures: tuple[str, ...]
) -> dict[str, Any]:
    """Return the request that has a submission in CUDA C++ compiled, see `runner.cuda.nvcc`.

    Args:
        submission: what was handed in.
        assignment: whose header is included before the first line.
        architectures: such as `sm_90a`.
    """
    slug = assignment.slug
    header = {"name": header_name(slug), "text": write_header(slug, assignment.launchers)}
    return {
        "op": "build",
        "files": [{"name": file.name, "text": file.text} for file in submission.files],
        "header": header,
        "entry": f"{submission.entry}.cu",
        "architectures": list(architectures),
    }
