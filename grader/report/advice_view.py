"""The advice on kernels as its student sees it: one row per kernel and compilation target."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from grader.advice.kernel_advice import Advice, KernelAdvice, KernelOutcome, KernelResources
from grader.report.hostile_text import make_legible
from grader.report.messages import KERNEL_OUTCOME_TEXT


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRow:
    """One kernel on one target, as text.

    Attributes:
        kernel: its name.
        location: of its definition; may be empty.
        target: such as `sm_80`, or several with the same result; empty if it was not compiled.
        outcome: whether it compiles.
        compiles: the same as a flag.
        arguments: types and constants that it was compiled for; may be empty.
        message: of the compiler; may be empty.
        message_location: the line that the message names; may be empty.
        registers: per thread; empty if not known, like all that follow.
        spill: bytes per thread.
        shared: bytes per block.
        warps: per block.
        occupancy: in percent.
    """

    kernel: str
    location: str
    target: str
    outcome: str
    compiles: bool
    arguments: str
    message: str
    message_location: str
    registers: str
    spill: str
    shared: str
    warps: str
    occupancy: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdviceView:
    """The section about kernels; it is shown if it has a row or a notice.

    Attributes:
        rows: in the record's order.
        notice: why some kernels are missing; may be empty.
    """

    rows: tuple[KernelRow, ...]
    notice: str

    @property
    def shown(self) -> bool:
        """Whether the section has any content."""
        return bool(self.rows or self.notice)


def view_advice(advice: Advice) -> AdviceView:
    """Copy from `advice` what its student may know: all but the details of our own failures."""
    return AdviceView(
        rows=_merge_targets(_view_kernel(kernel) for kernel in advice.kernels),
        notice=make_legible(advice.notice),
    )


def _view_kernel(kernel: KernelAdvice) -> KernelRow:
    known = [_number_text(resources) for resources in kernel.resources]
    registers, spill, shared, warps, occupancy = known[0] if known else ("",) * 5
    return KernelRow(
        kernel=make_legible(kernel.kernel),
        location=make_legible(kernel.location),
        target=make_legible(kernel.target),
        outcome=KERNEL_OUTCOME_TEXT[kernel.outcome],
        compiles=kernel.outcome is KernelOutcome.COMPILES,
        arguments=make_legible(kernel.arguments),
        message=make_legible(kernel.message),
        message_location=make_legible(kernel.message_location),
        registers=registers,
        spill=spill,
        shared=shared,
        warps=warps,
        occupancy=occupancy,
    )


def _merge_targets(rows: Iterable[KernelRow]) -> tuple[KernelRow, ...]:
    """Join rows that differ only in the target: most failures are the same on all targets."""
    targets: dict[KernelRow, list[str]] = {}
    for row in rows:
        targets.setdefault(replace(row, target=""), []).append(row.target)
    return tuple(
        replace(row, target=", ".join(dict.fromkeys(names))) for row, names in targets.items()
    )


def _number_text(resources: KernelResources) -> tuple[str, str, str, str, str]:
    numbers = (resources.registers, resources.spill_bytes, resources.shared_bytes)
    registers, spill, shared = map(str, numbers)
    if not resources.warps:  # known only when C++ code launches the kernel
        return registers, spill, shared, "", ""
    fits = resources.occupancy > 0
    return (
        registers,
        spill,
        shared,
        str(resources.warps),
        f"{100 * resources.occupancy:.0f} %" if fits else "a block does not fit",
    )
