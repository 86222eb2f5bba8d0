"""Compiles submissions in CUDA C++ in a sandbox of their own; others pass through unchanged.

For every later stage a compiled submission looks like one in Python: a module that names the
launchers, and beside it a library. Only the submission's sandboxed process ever loads the library.
Compiler output is untrusted; `explain` finds the first error and its line in it.

The compiler's command line is in `runner.cuda.nvcc`, calling the library in
`runner.cuda.launchers`.
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
from grader.runner.cuda.nvcc import ANY_ARCHITECTURE, MAX_LIBRARY_BYTES, MAX_OUTPUT_BYTES
from grader.sandbox.contract import Isolation
from grader.sandbox.pool import SandboxOnDemand
from grader.worker.messages import location_of
from grader.worker.session import open_session

ENTRY = "submission"
LIBRARY = "lib_submission.so"
ARCHITECTURES: Mapping[str, tuple[str, ...]] = {
    "cuda:h200": ("sm_90a",),
    "cuda:h100": ("sm_90a",),
    "cuda:a100": ("sm_80",),
    "cuda:t4": ("sm_75",),
}
"""Architectures of device classes whose devices all have the same one."""
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Built:
    """A submission that can be run, or the reason why it cannot.

    Attributes:
        submission: as it is loaded in the sandbox.
        faults: the one reason why it cannot be run; empty if it can.
        compiler_output: untrusted text; empty if nothing was compiled.
        lacks: the compiler that is not installed; empty if none is missing.
    """

    submission: Submission
    faults: tuple[Fault, ...] = ()
    compiler_output: str = ""
    lacks: str = ""


def architectures(device: str) -> tuple[str, ...]:
    """Return the architectures to compile for on a device class, in nvcc's names."""
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
        self._sandbox = SandboxOnDemand(
            sandbox,
            BUILD_LIMITS,
            isolation=isolation,
            device="nvcc",
            image=image,
            first_slot=first_slot,
        )

    def build(self, submission: Submission) -> Built:
        """Return a submission as the sandbox loads it; its content never makes this raise."""
        if submission.origin is not Origin.CUDA or submission.binaries:
            return Built(submission=submission)
        request = build_request(submission, self._assignment, architectures(self._device))
        try:
            with (
                self._sandbox.borrow() as sandbox,
                open_session(sandbox, submission, limits=BUILD_LIMITS) as session,
            ):
                reply = session.ask("build", request)
                starved = session.oom_kills > 0
        except Stopped as stopped:
            message = f"the submission could not be compiled: {stopped.fault.message}"
            fault = replace(stopped.fault, message=message)
            return Built(submission=submission, faults=(fault,))
        except (SandboxError, Raised) as error:
            return _not_built(
                submission, FaultKind.INFRASTRUCTURE, f"the compiler's sandbox failed: {error}"
            )
        built = _read(reply, submission, self._assignment.launchers)
        if starved and not built.submission.binaries and not built.lacks:
            return _not_built(submission, FaultKind.OUT_OF_MEMORY, STARVED)
        return built

    def close(self) -> None:
        """Close the sandbox, if it was ever started."""
        self._sandbox.close()


def entry_module(launchers: tuple[Launcher, ...]) -> str:
    """Return the Python module that loads the library and defines its launchers."""
    forms = json.dumps([asdict(launcher) for launcher in launchers])
    return (
        "from runner.cuda import launchers\n\n"
        f'launchers.bind(__file__.rpartition("/")[0] + "/{LIBRARY}", {forms!r}, globals())\n'
    )


def _read(reply: Any, submission: Submission, launchers: tuple[Launcher, ...]) -> Built:  # noqa: ANN401 - an untrusted reply
    """Return the result that a reply describes, after strict checks."""
    keys = {"missing": str, "status": int, "output": str, "library": list}
    known = isinstance(reply, dict) and set(reply) == set(keys)
    if not known or any(type(reply[key]) is not kind for key, kind in keys.items()):
        return _not_built(
            submission, FaultKind.BAD_REPLY, "the compiler's sandbox gave an unknown reply"
        )
    if reply["missing"]:
        lacks = reply["missing"][:20]
        message = f"{lacks} is not installed where submissions are compiled: {REMEDY}"
        return replace(_not_built(submission, FaultKind.INFRASTRUCTURE, message), lacks=lacks)
    compiler_output = reply["output"][:MAX_OUTPUT_BYTES]
    if reply["status"] != 0 or not reply["library"]:
        error, where = explain(compiler_output, submission)
        message = f"the submission could not be compiled: {error}"
        fault = Fault(
            kind=FaultKind.EXCEPTION, message=message, detail=compiler_output, where=where
        )
        return Built(submission=submission, faults=(fault,), compiler_output=compiler_output)
    (library,) = reply["library"][:1]
    if not isinstance(library, torch.Tensor) or library.dtype != torch.uint8:
        return _not_built(submission, FaultKind.BAD_REPLY, "the compiler's sandbox gave no library")
    made = replace(
        submission,
        entry=ENTRY,
        files=(SourceFile(name=f"{ENTRY}.py", text=entry_module(launchers)),),
        binaries=(BinaryFile(name=LIBRARY, content=library.contiguous().numpy().tobytes()),),
    )
    return Built(submission=made, compiler_output=compiler_output)


def _not_built(submission: Submission, kind: FaultKind, message: str) -> Built:
    return Built(submission=submission, faults=(Fault(kind=kind, message=message),))


def build_request(
    submission: Submission, assignment: Assignment, architectures: tuple[str, ...]
) -> dict[str, Any]:
    """Return the request to compile a submission, see `runner.cuda.nvcc`.

    The assignment's header is included before the first line.
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


def explain(compiler_output: str, submission: Submission) -> tuple[str, str]:
    """Return the first error and its location in the submission; the location may be empty.

    An error in a file that is not part of the submission, such as a system header, gets the
    location of the first line of the submission that the compiler names after it, if any.
    """
    lines = compiler_output.splitlines()
    for number, line in enumerate(lines):
        for pattern in _ERRORS:
            if match := pattern.match(line):
                where = _location(submission, match[1], match[2])
                rest = lines[number + 1 : number + 40]
                return _cut(match[3]), where or _next_location(submission, rest)
    for pattern in _WITHOUT_LOCATION:
        for line in lines:
            if match := pattern.search(line):
                return _cut(match[1]), ""
    return "no error was found in the compiler's output", ""


def _location(submission: Submission, name: str, line: str) -> str:
    return location_of(submission, [[name.removeprefix("./"), int(line[:9]), ""]])


def _next_location(submission: Submission, lines: list[str]) -> str:
    """Return the first location in the submission that these lines name; empty if there is none."""
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
