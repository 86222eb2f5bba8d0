"""Texts of the pages: what each verdict, cause and measured number means, and what to do next.

Sentences about one check are the judge's (see `judge.judge` and `judge.targets`).
"""

import math
from collections.abc import Mapping

from grader.advice.kernel_advice import KernelOutcome
from grader.assignment.plan import PlannedCheck
from grader.assignment.table import Evidence
from grader.assignment.target import CheckKind
from grader.intake.submission import Origin
from grader.judge.judgement import Cause, Status, Verdict
from grader.performance.decide.interval import Kind
from grader.performance.decide.totals import STOLEN_SHARE

VERDICT_TEXT: Mapping[Verdict, str] = {
    Verdict.PASS: "Passed",
    Verdict.FAIL: "Not passed",
    Verdict.NEEDS_REVIEW: "Awaiting review",
    Verdict.UNGRADED: "Not graded yet",
}
IN_PART_TEXT = "Passed with part of the points"
BLOCKED_TEXT = "Not measured"

CAUSE_EXPLAINED: Mapping[Cause, str] = {
    Cause.NONE: "",
    Cause.WRONG_VALUE: (
        "Your code ran, but a result differs from the expected one. Start with the public case, "
        "if one failed. If only hidden cases failed, think of sizes, dtypes and edge cases that "
        "the public cases do not use."
    ),
    Cause.WRONG_ERROR: (
        "A call that must raise an exception raised none, or one of another type. Check the "
        "arguments at the start of the function, and raise the exception that the task names."
    ),
    Cause.TOO_SLOW: (
        "Your code took longer than this target allows. Measure which part takes the time; common "
        "reasons are copies and loops over single elements."
    ),
    Cause.TOO_MUCH_MEMORY: (
        "Your code used more memory than this target allows. Look for copies and for large "
        "intermediate tensors."
    ),
    Cause.TOO_MUCH_TRAFFIC: (
        "Your ranks sent more bytes than this target allows. Look for data that is sent twice, or "
        "to ranks that do not need it."
    ),
    Cause.CRASH: (
        "Your code raised an exception, or its process ended, before it returned a result. Read "
        "the message, and look at the line that it names."
    ),
    Cause.TIMEOUT: (
        "Your code returned no result within the time limit. If the message speaks of compiling, "
        "compile less: smaller functions, fewer shapes. Otherwise look for a loop that never ends "
        "or, with several ranks, for a call that one of them does not make."
    ),
    Cause.OUT_OF_MEMORY: (
        "Your code reached the memory limit of its process. Look for very large tensors, and for "
        "lists that grow with every call."
    ),
    Cause.MISSING: (
        "A name that this problem needs is not defined, or its function is not implemented yet. "
        "Check how the name is spelt, and that its definition is in the file you handed in."
    ),
    Cause.FORBIDDEN: (
        "Your code works only with an operation that this problem does not allow. Replace the "
        "operation by code of your own."
    ),
    Cause.INFRASTRUCTURE: (
        "The grading machine failed, not your code. You need not do anything: the course staff "
        "can grade this part again."
    ),
    Cause.AUTHOR: (
        "This check itself is broken. You need not do anything: the course staff can repair it "
        "and grade this part again."
    ),
    Cause.NO_DEVICE: (
        "The grading machine does not have the device that this check needs. You need not do "
        "anything: the course staff can grade this part on another machine."
    ),
}
CAUSES_TEXT = "What each cause means, with examples: see “Causes” in the course's documentation."

COMMON_TEXT = "The reason stands at the top of this report."
LEFT_OUT_TEXT = (
    "points of targets that need a device, such as a GPU, are left out of this grade, for "
    "everybody in your class."
)
UNGRADED_TEXT = "We could not grade this part; it is not a zero."
OPEN_TEXT = "They are not zeros. The checks below say why they are open and what happens next."
NEEDS_REVIEW_TEXT = (
    "A measurement is outside the expected range, so a member of the course staff looks at this "
    "part before points are given. You need not do anything."
)
REJECTED_TEXT = "Your submission could not be read, so nothing was run."
UNCONFINED_TEXT = (
    "Unconfined: the submission ran without a sandbox, so its own code could have changed these "
    "results. Course staff: grade it again with --sandbox docker or --sandbox bwrap."
)

STATUS_TEXT: Mapping[Status, str] = {
    Status.GRADED: "Graded",
    Status.PROVISIONAL: "Provisional",
    Status.NEEDS_REVIEW: "Awaiting review",
    Status.UNGRADED: "Not fully graded",
    Status.REJECTED: "Rejected",
}

STATUS_EXPLAINED: Mapping[Status, str] = {
    Status.GRADED: "Every check has a result.",
    Status.PROVISIONAL: (
        "Some checks need a device that the grading machine does not have; their points are open."
    ),
    Status.NEEDS_REVIEW: "A member of the course staff looks at some points before they count.",
    Status.UNGRADED: (
        "We could not grade some checks; they are not zeros. The course staff can grade them again."
    ),
    Status.REJECTED: f"{REJECTED_TEXT} Read the reason, correct the file and hand it in again.",
}

EVIDENCE_TEXT: Mapping[Evidence, str] = {
    Evidence.OUTSIDE: "measured by the grader",
    Evidence.BOUNDED: "reported, within bounds",
    Evidence.DENIED: "restricted operations",
    Evidence.ADVICE: "advice",
}

EVIDENCE_EXPLAINED: Mapping[Evidence, str] = {
    Evidence.OUTSIDE: (
        "The grader compared or timed this outside the process of your code; your code cannot "
        "change the result."
    ),
    Evidence.BOUNDED: (
        "The process of your code reported this number. It counts only within bounds that the "
        "grader measured outside."
    ),
    Evidence.DENIED: (
        "The grader compared the results, and torch refused the operations that the problem does "
        "not allow. It cannot block the same computation in numpy, in Python or in machine code, "
        "or in C++ that looks up the libraries of torch; the course staff check for that."
    ),
    Evidence.ADVICE: "This comes from reading your code. It never changes your points.",
}

SANDBOX_TEXT: Mapping[str, str] = {
    "docker": "Your code ran in its own container, without network access.",
    "bwrap": "Your code ran in its own Linux namespaces (bubblewrap), without network access.",
    "none": "Your code ran without a sandbox.",
}

ADVICE_TEXT = (
    "Your kernels were compiled for GPUs, without a GPU and without running them, for the argument "
    "types of the public cases. A run on a CPU interprets kernels, and accepts code that the "
    "compiler rejects. These results come from the process of your code, so they are not graded, "
    "and nothing that is graded depends on them."
)
KERNEL_UNITS = (
    "Registers and spilled bytes are per thread; bytes of shared memory and warps are per block. "
    "Occupancy is the share of the 64 warps of a multiprocessor that can run at the same time."
)
KERNEL_OUTCOME_TEXT: Mapping[KernelOutcome, str] = {
    KernelOutcome.COMPILES: "compiles",
    KernelOutcome.FAILS: "does not compile",
    KernelOutcome.NOT_REACHED: "not compiled: no public case launched it",
}

ORIGIN_TEXT: Mapping[Origin, str] = {
    Origin.MODULE: "Python module",
    Origin.NOTEBOOK: "notebook",
    Origin.CUDA: "CUDA C++",
}

_CGROUP = "cgroup of the sandboxed process"
_CLOCK = "the grader's clock"
KIND_SOURCES: Mapping[Kind, str] = {
    Kind.CPU_RATIO: _CGROUP,
    Kind.WALL_RATIO: _CLOCK,
    Kind.CPU_GROWTH: _CGROUP,
    Kind.WALL_GROWTH: _CLOCK,
    Kind.CPU_LARGEST: _CGROUP,
    Kind.WALL_LARGEST: _CLOCK,
    Kind.MEMORY: _CGROUP,
    Kind.MEMORY_CAP: "the grader, which reserved the rest of the device's memory",
    Kind.TRAFFIC: "network counters of the sandbox",
}
"""What made the number, all of it outside the process of the submission."""

STOLEN_TEXT = (
    f"the hypervisor gave over {100 * STOLEN_SHARE:.0f} % of the time to other virtual machines"
)
THROTTLED_TEXT = "heat, a power limit or another device slowed the device down"
"""The two reasons why forks are left out."""

DEVICE_TEXT: Mapping[str, str] = {
    "cpu": "a processor",
    "cuda:h200": "an NVIDIA H200",
    "cuda:h100": "an NVIDIA H100",
    "cuda:a100": "an NVIDIA A100",
    "cuda:t4": "an NVIDIA T4",
    "cuda:*": "a CUDA GPU",
}

NOISY_TEXT = (
    "The measurements varied too much to decide; it is not a zero. You need not do anything: the "
    "course staff can measure it again."
)
UNMETERED_TEXT = (
    "The grading machine cannot count memory or network traffic of a process; it is not a zero. "
    "You need not do anything: the course staff can grade this part on another machine."
)
ROOFLINE_TEXT = (
    "of the highest speed that is possible on this machine: the least work there is (counted by "
    "the author) at the rates that were measured here"
)
TIMELINE_TEXT = (
    "This shows one more run, as your ranks themselves recorded it. It is advice, not graded. Each "
    "bar below the backward pass is one call of torch.distributed, from its start to its end; its "
    "dark part is the time that your code waited in the call."
)

_NS_UNITS = ((1e9, "s"), (1e6, "ms"), (1e3, "µs"), (1.0, "ns"))
_MIB = 1 << 20


def denied_text(entries: tuple[str, ...]) -> str:
    """Return what a problem denies, as a student reads it; `entries` as in `assignment.toml`."""
    if not entries:
        return ""
    if "@compute" in entries:
        return (
            "In every run, timed ones too, torch may only allocate, view, move, copy and cast, and "
            "every other operation of torch raises an error: your own kernel must compute the "
            "result."
        )
    names = ", ".join(entries)
    return (
        "In every run, timed ones too, these operations of torch raise an error here, by whatever "
        f"name they are called: {names}."
    )


def kind_text(check: PlannedCheck) -> str:
    """Return whether a check is essential; of an edge check, what it costs if it fails."""
    if check.kind is CheckKind.ESSENTIAL:
        return "essential"
    return f"edge check, {percent_text(check.share)} of the performance points"


def number_text(value: float, *, decimals: int = 2) -> str:
    """Return a number of points with at most so many decimals, none where they are zeros."""
    return f"{value:z.{decimals}f}".rstrip("0").rstrip(".")


def ratio_text(ratio: float) -> str:
    """Return a ratio with three digits, two decimals at most."""
    if math.isinf(ratio):
        return "∞"
    if ratio >= 100:
        return f"{ratio:.0f}"
    if ratio >= 10:
        return f"{ratio:.1f}"
    return f"{ratio:.2f}" if ratio >= 0.1 or ratio == 0 else f"{ratio:.2g}"


def slope_text(slope: float) -> str:
    """Return a slope with two decimals."""
    if math.isinf(slope):
        return "∞" if slope > 0 else "-∞"
    return f"{slope:z.2f}"


def time_text(ns: float) -> str:
    """Return a time with three digits in a unit that fits."""
    for scale, unit in _NS_UNITS:
        if ns >= scale:
            return f"{ns / scale:.3g} {unit}" if ns < 999.5 * scale else f"{ns / scale:.0f} {unit}"
    return f"{ns:.2g} ns"


def bytes_text(count: float) -> str:
    """Return bytes in MiB, or in KiB where that is less than one."""
    if count >= 100 * _MIB:
        return f"{count / _MIB:.0f} MiB"
    return f"{count / _MIB:.1f} MiB" if count >= _MIB else f"{count / 1024:.1f} KiB"


def percent_text(share: float) -> str:
    """Return a share in percent, with a decimal where it is small."""
    if 0 < share < 0.001:
        return "under 0.1 %"
    if math.isinf(share):
        return "∞ %"
    return f"{100 * share:.0f} %" if share >= 0.095 else f"{100 * share:.1f} %"


def device_text(devices: tuple[str, ...], graded_on: str) -> str:
    """Return what a target needs that the machine did not have.

    `devices` are the classes that have a tier; none in records that do not say.
    """
    later = "it is not a zero. The course staff can grade it on another machine."
    if not devices:
        return f"This part needs a device that the grading machine does not have; {later}"
    names = [f"{DEVICE_TEXT.get(name, 'another device')} ({name})" for name in devices]
    return f"This part needs {' or '.join(names)}, and you were graded on {graded_on}; {later}"
