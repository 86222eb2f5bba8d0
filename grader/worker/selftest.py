"""Tries every limit of a sandbox before the first submission is run.

A limit that does not hold makes a real sandbox unusable; an unconfined run names it as not
enforced. Which attacks the limits stop is tested in `tests/hostile`.
"""

from dataclasses import dataclass
from pathlib import Path

import torch

from grader.assignment.steps import Call, Value
from grader.assignment.table import Limits
from grader.errors import SandboxError
from grader.evidence.faults import FaultKind, Raised, Stopped
from grader.intake.submission import Submission
from grader.sandbox import probe_submission
from grader.sandbox.sandbox import Sandbox
from grader.worker.session import open_session

PROBE_LIMITS = Limits(
    load_wall_s=20.0, call_wall_s=20.0, memory_bytes=192 << 20, processes=12, reply_bytes=1 << 20
)
"""Small, so that exceeding them takes moments; torch's threads and buffers fit. The time is ample:
on a busy machine Linux may take seconds to end a process whose memory has run out."""

TOO_MUCH_BYTES = 512 << 20
TOO_MANY = 32
LOOP_LIMITS = Limits(load_wall_s=20.0, call_wall_s=0.3, memory_bytes=192 << 20, processes=12)


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Whether one limit holds, and what was observed."""

    name: str
    holds: bool
    detail: str


def try_limits(sandbox: Sandbox, secret: Path) -> tuple[Finding, ...]:
    """Try what a submission must not be able to do.

    Args:
        sandbox: one without a worker, under `PROBE_LIMITS`.
        secret: a file of the judge that exists, and that no worker may read.

    Raises:
        SandboxError: if even a correct call fails.
    """
    text = Path(probe_submission.__file__).read_text(encoding="utf-8")
    probe = Submission.of_text("probe", text)
    x = torch.arange(3.0)
    if not torch.equal(_ask(sandbox, probe, Call("double", x)), x * 2):
        raise SandboxError("a sandboxed process returned a wrong value", hint="run `grader doctor`")
    return (
        _memory(sandbox, probe),
        _processes(sandbox, probe),
        _time(sandbox, probe),
        _network(sandbox, probe),
        _files(sandbox, probe, secret),
    )


def refuse_unless(findings: tuple[Finding, ...], sandbox: str) -> tuple[str, ...]:
    """Return the names of limits that an unconfined run does not enforce.

    Raises:
        SandboxError: if a limit of a real sandbox does not hold.
    """
    broken = [finding for finding in findings if not finding.holds]
    if broken and sandbox != "none":
        text = "; ".join(f"{finding.name}: {finding.detail}" for finding in broken)
        raise SandboxError(
            f"the {sandbox} sandbox does not enforce its limits on this machine: {text}",
            hint="run `grader doctor`, and choose another --sandbox",
        )
    return tuple(f"not enforced: {finding.name}" for finding in broken)


def _ask(sandbox: Sandbox, probe: Submission, call: Call, limits: Limits = PROBE_LIMITS) -> Value:
    with open_session(sandbox, probe, limits=limits) as session:
        session.load()
        return session.call(call)


def _memory(sandbox: Sandbox, probe: Submission) -> Finding:
    refused, result = False, "allocated"
    try:
        _ask(sandbox, probe, Call("take_memory", TOO_MUCH_BYTES))
    except Raised as raised:
        refused, result = "MemoryError" in raised.names, f"raised {raised.names[0]}"
    except Stopped as stopped:
        refused, result = stopped.fault.kind is FaultKind.OUT_OF_MEMORY, stopped.fault.message
    asked = f"{TOO_MUCH_BYTES >> 20} MiB under a limit of {PROBE_LIMITS.memory_bytes >> 20} MiB"
    return Finding(name="memory limit", holds=refused, detail=f"{asked}: {result}")


def _processes(sandbox: Sandbox, probe: Submission) -> Finding:
    made = int(_ask(sandbox, probe, Call("fork_many", TOO_MANY)))
    return Finding(
        name="process limit",
        holds=made < TOO_MANY,
        detail=f"{made} of {TOO_MANY} forks under a limit of {PROBE_LIMITS.processes}",
    )


def _time(sandbox: Sandbox, probe: Submission) -> Finding:
    try:
        _ask(sandbox, probe, Call("loop_forever"), LOOP_LIMITS)
        ended = False
    except Stopped as stopped:
        ended = stopped.fault.kind is FaultKind.TIMEOUT
    return Finding(
        name="time limit",
        holds=ended and sandbox.usable,
        detail="an endless loop was ended" if ended else "an endless loop went on",
    )


def _network(sandbox: Sandbox, probe: Submission) -> Finding:
    result = str(_ask(sandbox, probe, Call("reach_network")))
    return Finding(name="no network", holds=result == "no route", detail=result)


def _files(sandbox: Sandbox, probe: Submission, secret: Path) -> Finding:
    paths = [str(secret), "/etc/shadow", "/etc/passwd", "/proc/1/environ", "/proc/self/mem"]
    opened = _ask(sandbox, probe, Call("read_files", paths))
    return Finding(
        name="no foreign files",
        holds=opened == [],
        detail=f"opened {', '.join(opened)}" if opened else "no file of the judge could be opened",
    )
