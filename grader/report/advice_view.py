"""The advice on kernels as its student sees it: one row per kernel and compilation target."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from grader.advice.kernel_advice import Advice, KernelAdvice, KernelOutcome
from grader.report.hostile_text import make_legible
from grader.report.messages import KERNEL_OUTCOME_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRow:
    """One kernel on one target, as text.

    Attributes:
        location: of its definition; may be empty.
        target: such as `sm_80`, or several with the same result; empty if it was not compiled.
        arguments: types and constants that it was compiled for; may be empty.
        message: of the compiler; may be empty.
        message_location: the line that the message names; may be empty.
        numbers: registers and spilled bytes per thread, shared bytes and warps per block, and the
            occupancy in percent; each is empty if it is not known.
    """

    kernel: str
    location: str
    target: str
    outcome: str
    compiles: bool
    arguments: str
    message: str
    message_location: str
    numbers: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceView:
    """The section about kernels; it is shown if it has a row or a notice.

    Attributes:
        notice: why some kernels are missing; may be empty.
    """

    rows: tuple[KernelRow, ...]
    notice: str


def view_advice(advice: Advice) -> AdviceView:
    """Copy from `advice` what its student may know: all but the details of our own failures."""
    return AdviceView(
        rows=_merge_targets(_view_kernel(kernel) for kernel in advice.kernels),
        notice=make_legible(advice.notice),
    )


def _view_kernel(kernel: KernelAdvice) -> KernelRow:
    return KernelRow(
        kernel=make_legible(kernel.kernel),
        location=make_legible(kernel.location),
        target=make_legible(kernel.target),
        outcome=KERNEL_OUTCOME_TEXT[kernel.outcome],
        compiles=kernel.outcome is KernelOutcome.COMPILES,
        arguments=make_legible(kernel.arguments),
        message=make_legible(kernel.message),
        message_location=make_legible(kernel.message_location),
        numbers=_numbers(kernel),
    )


def _merge_targets(rows: Iterable[KernelRow]) -> tuple[KernelRow, ...]:
    """Join rows that differ only in the target: most failures are the same on all targets."""
    targets: dict[KernelRow, list[str]] = {}
    for row in rows:
        targets.setdefault(replace(row, target=""), []).append(row.target)
    return tuple(
        replace(row, target=", ".join(dict.fromkeys(names))) for row, names in targets.items()
    )


def _numbers(kernel: KernelAdvice) -> tuple[str, ...]:
    if not kernel.resources:
        return ("",) * 5
    used = kernel.resources[0]
    known = (str(used.registers), str(used.spill_bytes), str(used.shared_bytes))
    if not used.warps:  # known only when C++ code launches the kernel
        return (*known, "", "")
    fits = used.occupancy > 0
    occupancy = f"{100 * used.occupancy:.0f} %" if fits else "a block does not fit"
    return (*known, str(used.warps), occupancy)
