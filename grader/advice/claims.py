"""Turns what compilers report about a submission's kernels into advice, after strict checks.

For Triton the report is a reply of a sandboxed process, for CUDA C++ it is the output of the
compiler. Either could have been written by the submission itself, so a report is accepted only in
its known form and within known bounds, and is shown as a claim. Source locations are looked up in
the submission, and occupancy is computed here. Compiler errors of C++ are in `cuda_cpp.builder`.
"""

import re
from typing import NoReturn

from grader.advice.kernel_advice import (
    NO_ADVICE,
    Advice,
    KernelAdvice,
    KernelOutcome,
    KernelResources,
    occupancy,
)
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
"""More than any device has: a kernel that needs too much still compiles."""
MAX_WARPS = 32

_ABOUT = {"kernel", "frame", "target"}
_FAILED = _ABOUT | {"error", "error_frame"}
_UNREAD = _ABOUT | {"arguments", "unread"}
_COMPILED = _ABOUT | {"arguments", "registers", "spill_bytes", "shared_bytes", "warps"}


def read_claims(reply: Value, submission: Submission) -> tuple[tuple[KernelAdvice, ...], bool]:
    """Return the advice in a reply, and whether the reply leaves kernels out.

    Raises:
        ChannelError: if the reply has an unknown form.
    """
    report = _table(reply, {"findings", "unreached", "left_out"})
    findings = _entries(report["findings"], MAX_FINDINGS)
    unreached = _entries(report["unreached"], MAX_UNREACHED)
    if type(report["left_out"]) is not bool:
        _refuse("true or false for left_out")
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
    """Return at most `most` characters; unprintable ones become U+FFFD."""
    if type(value) is not str:
        _refuse("a text")
    return "".join(c if c.isprintable() or c == "\n" else "\ufffd" for c in value[:most])


def _refuse(what: str) -> NoReturn:
    raise ChannelError(
        f"the sandboxed process reported its kernels in an unknown form: expected {what}"
    )


MAX_KERNELS = 64
CUT_SHORT = "Only the first kernels are listed: there is a limit on how many."

# Source: output of `ptxas -v`, toolkit 13.0.
_ENTRY = re.compile(r"Compiling entry function '(\w{1,400})' for '(sm_\w{2,6})'")
_SPILLS = re.compile(r"(\d{1,9}) bytes spill stores, (\d{1,9}) bytes spill loads")
_USED = re.compile(r"Used (\d{1,4}) registers")
_SHARED = re.compile(r"(\d{1,9}) bytes smem")


def advise_on_cuda(compiler_output: str) -> Advice:
    """Return one entry for each kernel and target in the output of `ptxas -v`.

    Warps per block are chosen by each launch, so they and the occupancy are unknown.
    """
    kernels: list[KernelAdvice] = []
    entry: tuple[str, str] = ("", "")
    spill_bytes = 0
    for line in compiler_output.splitlines():
        if match := _ENTRY.search(line):
            entry, spill_bytes = (match[1], match[2]), 0
        elif match := _SPILLS.search(line):
            spill_bytes = max(int(match[1]), int(match[2]))
        elif (match := _USED.search(line)) and entry[0]:
            shared = _SHARED.search(line)
            kernels.append(
                _kernel(entry, int(match[1]), spill_bytes, int(shared[1]) if shared else 0)
            )
            entry = ("", "")
    if not kernels:
        return NO_ADVICE
    notice = CUT_SHORT if len(kernels) > MAX_KERNELS else ""
    return Advice(kernels=tuple(kernels[:MAX_KERNELS]), notice=notice, detail="")


def _kernel(
    entry: tuple[str, str], registers: int, spill_bytes: int, shared_bytes: int
) -> KernelAdvice:
    symbol, target = entry
    name, is_template = readable_name(symbol)
    return KernelAdvice(
        kernel=name,
        location="",
        target=target,
        outcome=KernelOutcome.COMPILES,
        arguments=symbol[:200] if is_template else "",
        message="",
        message_location="",
        resources=(
            KernelResources(
                registers=registers,
                spill_bytes=spill_bytes,
                shared_bytes=shared_bytes,
                warps=0,
                occupancy=0.0,
            ),
        ),
    )


def readable_name(symbol: str) -> tuple[str, bool]:
    """Return the function's own name in a mangled symbol, and whether it is one of a template.

    Source: Itanium C++ ABI, section 5.1: a name is its length and its letters; N…E nests.
    """
    if not symbol.startswith("_Z"):
        return symbol, False
    rest = re.sub(r"^_Z(?:N[KVr]*)?", "", symbol)
    name = ""
    while match := re.match(r"(\d{1,3})", rest):
        size = int(match[1])
        name, rest = rest[len(match[1]) :][:size], rest[len(match[1]) + size :]
        if not symbol.startswith("_ZN"):
            break
    return name or symbol, rest.startswith("I")
