"""Verdicts, causes, evidence and walls in words that a student can act on.

Takes: nothing. Gives: one phrase for every member of the enums. Does not cover: the sentences that
the judge wrote about one check.
"""

from collections.abc import Mapping

from grader.advice.kernel_advice import KernelOutcome
from grader.assignment.table import Evidence
from grader.intake.submission import Origin
from grader.judge.judgement import Cause, Status, Verdict

VERDICT_TEXT: Mapping[Verdict, str] = {
    Verdict.PASS: "Passed",
    Verdict.FAIL: "Not passed",
    Verdict.NEEDS_REVIEW: "Awaiting review",
    Verdict.UNGRADED: "Not graded yet",
}

IN_PART_TEXT = "Passed, between the tiers"

CAUSE_TEXT: Mapping[Cause, str] = {
    Cause.NONE: "",
    Cause.WRONG_VALUE: "wrong value",
    Cause.WRONG_ERROR: "wrong error",
    Cause.TOO_SLOW: "too slow",
    Cause.TOO_MUCH_MEMORY: "too much memory",
    Cause.TOO_MUCH_TRAFFIC: "too much traffic",
    Cause.CRASH: "crash",
    Cause.TIMEOUT: "timeout",
    Cause.OUT_OF_MEMORY: "out of memory",
    Cause.MISSING: "missing",
    Cause.FORBIDDEN: "forbidden operation",
    Cause.INFRASTRUCTURE: "our machine",
    Cause.AUTHOR: "our assignment",
    Cause.NO_DEVICE: "no device",
}

CAUSE_EXPLAINED: Mapping[Cause, str] = {
    Cause.NONE: "",
    Cause.WRONG_VALUE: "Your code ran, and a result differs from what was expected.",
    Cause.WRONG_ERROR: "A call that must be refused was not, or raised another exception.",
    Cause.TOO_SLOW: "Your code took longer than this check allows.",
    Cause.TOO_MUCH_MEMORY: "Your code used more memory than this check allows.",
    Cause.TOO_MUCH_TRAFFIC: "Your code sent more bytes than this check allows.",
    Cause.CRASH: "Your code raised an exception, or its process ended, before the result came.",
    Cause.TIMEOUT: "No result came within the time limit.",
    Cause.OUT_OF_MEMORY: "Your code ran into the memory limit of its process.",
    Cause.MISSING: "A name that this problem needs is not defined, or is not implemented.",
    Cause.FORBIDDEN: "Your code works only with an operation that this problem rules out.",
    Cause.INFRASTRUCTURE: "The machine that grades failed. The course staff can grade it again.",
    Cause.AUTHOR: "This check itself is broken. The course staff can repair it and grade again.",
    Cause.NO_DEVICE: "The machine that graded you lacks the device this check needs.",
}

UNGRADED_TEXT = "We could not grade this part; it is not a zero."
NEEDS_REVIEW_TEXT = "A person on the course staff looks at this before points are given."
REJECTED_TEXT = "Your submission could not be read, so nothing was run."
UNCONFINED_TEXT = (
    "Unconfined run: the submission was graded without a sandbox around it, so these results "
    "are only as trustworthy as the code that was run."
)

STATUS_TEXT: Mapping[Status, str] = {
    Status.GRADED: "Graded",
    Status.PROVISIONAL: "Provisional",
    Status.NEEDS_REVIEW: "Awaiting review",
    Status.UNGRADED: "Not fully graded",
    Status.REJECTED: "Rejected",
}

STATUS_EXPLAINED: Mapping[Status, str] = {
    Status.GRADED: "Every check was judged.",
    Status.PROVISIONAL: "Some checks need a device that was not there; their points are open.",
    Status.NEEDS_REVIEW: "Some points wait for a person on the course staff.",
    Status.UNGRADED: "We could not grade some checks; they are not zeros and can be graded again.",
    Status.REJECTED: REJECTED_TEXT,
}

EVIDENCE_TEXT: Mapping[Evidence, str] = {
    Evidence.OUTSIDE: "measured outside",
    Evidence.BOUNDED: "bounded claim",
    Evidence.DENIED: "denied in the box",
    Evidence.ADVICE: "advice",
}

EVIDENCE_EXPLAINED: Mapping[Evidence, str] = {
    Evidence.OUTSIDE: "Compared or timed by the judge, where a submission cannot reach.",
    Evidence.BOUNDED: "Reported from inside the box, accepted only within bounds measured outside.",
    Evidence.DENIED: (
        "Compared by the judge; meanwhile torch refused the operations that the problem denies. "
        "The box cannot keep code from computing on its own memory without torch, in Python, with "
        "numpy or in machine code of its own; nor code in C++, which is linked against no library "
        "of CUDA's, from finding those that torch has loaded (dlsym): that, a person has to see."
    ),
    Evidence.ADVICE: "Read from your code. It never changes points.",
}

SANDBOX_TEXT: Mapping[str, str] = {
    "docker": "Your code ran in a container of its own, without a network.",
    "bwrap": "Your code ran in Linux namespaces of its own (bubblewrap), without a network.",
    "none": "Your code ran without a sandbox.",
}

ADVICE_TEXT = (
    "Your kernels were compiled ahead of time, without a GPU and without being run, for the "
    "argument types of the public cases. A CPU run interprets kernels and takes more than the "
    "compiler does. All of this was said inside the box where your code ran: it is not graded, and "
    "nothing that is graded depends on it."
)
KERNEL_UNITS = (
    "Registers and spilled bytes are per thread, bytes of shared memory and warps per block. "
    "Occupancy is the part of a multiprocessor's 64 warps that these leave room for."
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


def denied_text(entries: tuple[str, ...]) -> str:
    """Return what a problem denies, as a student reads it; `entries` as in `assignment.toml`."""
    if not entries:
        return ""
    if "@compute" in entries:
        return (
            "In every run, timed ones too, torch allocates, views, copies and casts here, and "
            "every other operation of it raises: a kernel of your own must compute."
        )
    names = ", ".join(entries)
    return f"In every run, timed ones too, torch raises here for {names}, by any of their names."


def number_text(value: float) -> str:
    """Return a number of points with at most two decimals, none where they are zeros."""
    text = f"{value:.2f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
