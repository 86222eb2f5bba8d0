"""Compiles submissions in CUDA C++ behind a wall of their own; all others pass unchanged.

Takes: a course and what was handed in. Gives: `Builder`, whose `build` returns `Built`. Does not
cover: the compiler's command (see `runner.nvcc`), loading and calling what it made.

A compiled submission is, for every later stage, one in Python: a module that names the launchers,
and beside it a library that no process but the student's box ever loads.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import torch

from grader.errors import SandboxError
from grader.intake.submission import BinaryFile, Origin, SourceFile, Submission
from grader.measure.compiler_words import explain
from grader.measure.drive import Raised, Stopped
from grader.measure.observed import Fault
from grader.measure.requests import build_request
from grader.measure.session import open_session
from grader.plan.assignment import Limits
from grader.plan.course import Course
from grader.plan.launcher import Launcher
from grader.runner.nvcc import MAX_LIBRARY_BYTES, MAX_SAID_BYTES
from grader.sandbox.contract import Isolation
from grader.sandbox.faults import FaultKind
from grader.sandbox.wall_on_demand import WallOnDemand

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
        said: of the compiler, untrusted; empty if none was needed.
        lacks: the program that is not there to compile it; empty if none was needed or all are.
    """

    submission: Submission
    faults: tuple[Fault, ...] = ()
    said: str = ""
    lacks: str = ""


def architectures(device: str) -> tuple[str, ...]:
    """Return what to compile for on a device class, in the compiler's names."""
    return ARCHITECTURES.get(device, ANY_ARCHITECTURE)


class Builder:
    """Builds the submissions of one batch."""

    def __init__(
        self, course: Course, *, sandbox: str, isolation: Isolation, image: str, first_slot: int
    ) -> None:
        self._assignment = course.assignment
        self._device = course.plan.device
        self._wall = WallOnDemand(
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
                self._wall.borrow() as wall,
                open_session(wall, submission, limits=BUILD_LIMITS) as session,
            ):
                reply = session.ask("build", request)
                starved = session.oom_kills > 0
        except Stopped as stopped:
            return Built(submission=submission, faults=(_in_words(stopped.fault),))
        except (SandboxError, Raised) as error:
            return _not_built(submission, FaultKind.INFRASTRUCTURE, f"the compiler's box: {error}")
        built = _read(reply, submission, self._assignment.launchers)
        if starved and not built.submission.binaries and not built.lacks:
            return _not_built(submission, FaultKind.OUT_OF_MEMORY, STARVED)
        return built

    def close(self) -> None:
        """Take the wall down, if it was ever started."""
        self._wall.close()


def entry_module(launchers: tuple[Launcher, ...]) -> str:
    """Return the module that stands for a library: it names the launchers that the library has."""
    forms = json.dumps([asdict(launcher) for launcher in launchers])
    return (
        "from runner import launchers\n\n"
        f'launchers.bind(__file__.rpartition("/")[0] + "/{LIBRARY}", {forms!r}, globals())\n'
    )


def _read(reply: Any, submission: Submission, launchers: tuple[Launcher, ...]) -> Built:  # noqa: ANN401 - what the box claims
    """Return what a reply amounts to, read strictly."""
    keys = {"missing": str, "status": int, "said": str, "library": list}
    known = isinstance(reply, dict) and set(reply) == set(keys)
    if not known or any(type(reply[key]) is not kind for key, kind in keys.items()):
        return _not_built(submission, FaultKind.BAD_REPLY, "the compiler's box gave no known reply")
    if reply["missing"]:
        lacks = reply["missing"][:20]
        message = f"no {lacks} where submissions are compiled: {REMEDY}"
        return replace(_not_built(submission, FaultKind.INFRASTRUCTURE, message), lacks=lacks)
    said = reply["said"][:MAX_SAID_BYTES]
    if reply["status"] != 0 or not reply["library"]:
        words, where = explain(said, submission)
        message = f"the submission could not be compiled: {words}"
        fault = Fault(kind=FaultKind.EXCEPTION, message=message, detail=said, where=where)
        return Built(submission=submission, faults=(fault,), said=said)
    (library,) = reply["library"][:1]
    if not isinstance(library, torch.Tensor) or library.dtype != torch.uint8:
        return _not_built(submission, FaultKind.BAD_REPLY, "the compiler's box gave no library")
    made = replace(
        submission,
        entry=ENTRY,
        files=(SourceFile(name=f"{ENTRY}.py", text=entry_module(launchers)),),
        binaries=(BinaryFile(name=LIBRARY, content=library.contiguous().numpy().tobytes()),),
    )
    return Built(submission=made, said=said)


def _in_words(fault: Fault) -> Fault:
    """Return a fault of the box as one of compiling."""
    return replace(fault, message=f"the submission could not be compiled: {fault.message}")


def _not_built(submission: Submission, kind: FaultKind, message: str) -> Built:
    return Built(submission=submission, faults=(Fault(kind=kind, message=message),))
