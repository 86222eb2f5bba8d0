"""What the box says of kernels, read strictly: a known form inside known bounds, or nothing.

Takes: the reply of a box that compiles. Gives: `KernelAdvice`. Does not cover: whether it is true;
a submission can say all of this itself (see `advice.kernel_advice`).

Places are looked up in what was handed in; occupancy is computed here.
"""

from typing import NoReturn

from grader.advice.kernel_advice import KernelAdvice, KernelOutcome, KernelResources, occupancy
from grader.assignment.steps import Value
from grader.errors import ChannelError
from grader.intake.submission import Submission
from grader.worker.messages import location_of

TARGETS = {80: "sm_80", 90: "sm_90"}
MAX_FINDINGS = 64
MAX_UNREACHED = 64
MAX_NAME = 80
MAX_TEXT = 1000
MAX_ARGUMENTS = 200
MAX_REGISTERS = 255
"""Of one thread. Source: CUDA C++ Programming Guide, technical specifications."""
MAX_LOCAL_BYTES = 512 << 10
"""Of one thread; same source."""
MAX_SHARED_BYTES = 1 << 20
"""More than any device has: a kernel that asks for too much still compiles."""
MAX_WARPS = 32

_ABOUT = {"kernel", "frame", "target"}
_FAILED = _ABOUT | {"error", "error_frame"}
_UNREAD = _ABOUT | {"arguments", "unread"}
_COMPILED = _ABOUT | {"arguments", "registers", "spill_bytes", "shared_bytes", "warps"}


def read_claims(reply: Value, submission: Submission) -> tuple[tuple[KernelAdvice, ...], bool]:
    """Return the advice that a reply holds, and whether the box left kernels out.

    Raises:
        ChannelError: if the reply has any other form than the box's own.
    """
    report = _table(reply, {"findings", "unreached", "left_out"})
    findings = _entries(report["findings"], MAX_FINDINGS)
    unreached = _entries(report["unreached"], MAX_UNREACHED)
    if type(report["left_out"]) is not bool:
        _refuse("left_out")
    kernels = (
        *(_read_finding(finding, submission) for finding in findings),
        *(_read_unreached(entry, submission) for entry in unreached),
    )
    return kernels, report["left_out"]


def _read_finding(finding: Value, submission: Submission) -> KernelAdvice:
    keys = set(finding) if isinstance(finding, dict) else set()
    if keys not in (_FAILED, _UNREAD, _COMPILED):
        _refuse("a finding")
    if type(finding["target"]) is not int or finding["target"] not in TARGETS:
        _refuse("a target")
    target = TARGETS[finding["target"]]
    failed = keys == _FAILED
    return KernelAdvice(
        kernel=_name(finding["kernel"]),
        location=location_of(submission, [finding["frame"]]),
        target=target,
        outcome=KernelOutcome.FAILS if failed else KernelOutcome.COMPILES,
        arguments="" if failed else _text(finding["arguments"], MAX_ARGUMENTS),
        message=_text(finding["error"], MAX_TEXT) if failed else "",
        message_location=location_of(submission, [finding["error_frame"]]) if failed else "",
        resources=(_read_resources(finding, target),) if keys == _COMPILED else (),
    )


def _read_resources(finding: Value, target: str) -> KernelResources:
    registers = _count(finding["registers"], 0, MAX_REGISTERS)
    shared_bytes = _count(finding["shared_bytes"], 0, MAX_SHARED_BYTES)
    warps = _count(finding["warps"], 1, MAX_WARPS)
    return KernelResources(
        registers=registers,
        spill_bytes=_count(finding["spill_bytes"], 0, MAX_LOCAL_BYTES),
        shared_bytes=shared_bytes,
        warps=warps,
        occupancy=occupancy(target, registers=registers, shared_bytes=shared_bytes, warps=warps),
    )


def _read_unreached(entry: Value, submission: Submission) -> KernelAdvice:
    form = _table(entry, {"kernel", "frame"})
    return KernelAdvice(
        kernel=_name(form["kernel"]),
        location=location_of(submission, [form["frame"]]),
        target="",
        outcome=KernelOutcome.NOT_REACHED,
        arguments="",
        message="",
        message_location="",
        resources=(),
    )


def _table(value: Value, keys: set[str]) -> dict[str, Value]:
    if not isinstance(value, dict) or set(value) != keys:
        _refuse("a table")
    return value


def _entries(value: Value, most: int) -> list[Value]:
    if not isinstance(value, list) or len(value) > most:
        _refuse("a list")
    return value


def _name(value: Value) -> str:
    if type(value) is not str or len(value) > MAX_NAME or not value.isidentifier():
        _refuse("a name")
    return value


def _count(value: Value, least: int, most: int) -> int:
    if type(value) is not int or not least <= value <= most:
        _refuse("a number")
    return value


def _text(value: Value, most: int) -> str:
    """Return at most `most` characters; what cannot be shown becomes U+FFFD."""
    if type(value) is not str:
        _refuse("a text")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value[:most])


def _refuse(what: str) -> NoReturn:
    raise ChannelError(
        f"the box said something of its kernels that is not {what} of the known form"
    )
