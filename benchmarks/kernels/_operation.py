"""Runs the cases of one operation and states what was found.

Takes: a device, a generator of cases. Gives: `Result`. Does not cover: processes, files, pages.

A rival that cannot run (a backend that refuses a shape) is named with its reason; a kernel that
cannot, or whose result is far from its rivals', is broken.
"""

import gc
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch

from benchmarks.kernels._case import COPY, OURS, Bench, Case, Cases, Contender, Goal
from benchmarks.kernels._device import Device
from benchmarks.kernels._result import NOT_TIMED, Absent, Outcome, Point, Result, Row, merged
from benchmarks.kernels._roofline import Ceilings, Yardsticks, make_yardsticks
from benchmarks.kernels._rounds import (
    METHOD,
    Interval,
    Seconds,
    median,
    ratio,
    scaled,
    time_within,
)

MET, MISSED, NOT_MEASURED = "met", "missed", "not measured"
REASON_CHARACTERS = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Timed:
    """A case that has been timed.

    Attributes:
        operation: the kernel's file.
        case: what was timed.
        errors: of each contender that ran, by name, against the kernel.
        samples: seconds by round, by name, the copy's with them.
        copied_bytes: by the copy.
        ceilings: of the same rounds.
    """

    operation: str
    case: Case
    errors: dict[str, float]
    samples: dict[str, Seconds]
    copied_bytes: int
    ceilings: Ceilings


def run_operation(
    operation: str,
    cases: Callable[[Bench], Cases],
    device: Device,
    *,
    budget_s: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Result:
    """Time all cases of an operation within a budget; warming up and compiling come on top."""
    yardsticks = make_yardsticks(device)
    makers = cases(Bench(device=device))
    results = []
    for make in makers:
        results.append(
            run_case(
                operation, make(), yardsticks, device=device,
                budget_s=budget_s / len(makers), clock=clock,
            )
        )  # fmt: skip
        gc.collect()  # a case's tensors go before the next one's come
    return merged(results)


def run_case(
    operation: str,
    case: Case,
    yardsticks: Yardsticks,
    *,
    device: Device,
    budget_s: float,
    clock: Callable[[], float],
) -> Result:
    """Try the contenders of a case, time those that can run, judge its goals."""
    errors, absent = try_contenders(operation, case)
    runners = [contender for contender in case.contenders if contender.name in errors]
    copy, matmul = yardsticks.contenders
    entries = [*runners, copy, matmul]
    submission = time_within(device, entries, budget_s=budget_s, clock=clock)
    samples = {entry.name: submission[:, index] for index, entry in enumerate(entries)}
    timed = Timed(
        operation=operation,
        case=case,
        errors=errors,
        samples=samples,
        copied_bytes=yardsticks.bytes_moved,
        ceilings=yardsticks.ceilings(samples[copy.name], samples[matmul.name]),
    )
    goals = [judge_goal(timed, goal, device) for goal in case.goals]
    memory = [judge_memory(operation, case, limit, device) for limit in case.memory_limits]
    return Result(
        method=METHOD,
        note="" if device.counts else NOT_TIMED,
        rows=tuple(make_rows(timed)),
        points=(make_point(timed),),
        outcomes=(*goals, *memory),
        absent=tuple(absent),
        broken=tuple(find_strangers(operation, case, errors)),
    )


def try_contenders(operation: str, case: Case) -> tuple[dict[str, float], list[Absent]]:
    """Run each contender once; return errors against the kernel's result, and who could not run.

    Raises:
        RuntimeError: from the kernel itself; our fault.
    """
    ours = run_once(case.contenders[0])
    errors, absent = {OURS: 0.0}, []
    for rival in case.contenders[1:]:
        try:
            errors[rival.name] = error_of(run_once(rival), ours)
        except (RuntimeError, NotImplementedError) as error:
            reason = " ".join(str(error).split())[:REASON_CHARACTERS]
            absent.append(
                Absent(
                    operation=operation,
                    shape=case.shape,
                    contender=rival.name,
                    reason=f"{type(error).__name__}: {reason}",
                )
            )
    return errors, absent


def run_once(contender: Contender) -> torch.Tensor:
    """Return a copy of what a contender gives."""
    contender.prepare()
    return contender.call().detach().clone()


def error_of(got: torch.Tensor, want: torch.Tensor) -> float:
    """Return the largest difference, relative to the largest magnitude wanted; NaN if any is."""
    difference = (got.float() - want.float()).abs().max()
    scale = want.float().abs().max().clamp(min=torch.finfo(torch.float32).tiny)
    return float(difference / scale)


def find_strangers(operation: str, case: Case, errors: dict[str, float]) -> list[str]:
    """Return a sentence for each rival whose result is far from the kernel's; NaN is far."""
    return [
        f"{operation} {case.shape}: {name} differs from the kernel by {error:.2g} of the scale"
        for name, error in errors.items()
        if not error <= case.tolerance
    ]


def make_rows(timed: Timed) -> list[Row]:
    """Return a row for each contender, the kernel's first."""
    case, ours = timed.case, timed.samples[OURS]
    rows = []
    for name, error in timed.errors.items():
        samples = timed.samples[name]
        seconds = median(samples)
        rows.append(
            Row(
                operation=timed.operation,
                shape=case.shape,
                contender=name,
                seconds=seconds,
                rounds=len(samples),
                bytes_per_s=case.bytes_moved / seconds.estimate,
                flops_per_s=case.flops / seconds.estimate,
                copy_share=copy_share(timed, name).estimate,
                roofline_share=timed.ceilings.floor_s(case) / seconds.estimate,
                kernel_speed=ratio(samples, ours),
                error=error,
            )
        )
    return rows


def make_point(timed: Timed) -> Point:
    return Point(
        operation=timed.operation,
        shape=timed.case.shape,
        bytes_moved=timed.case.bytes_moved,
        flops=timed.case.flops,
        ceiling_bytes_per_s=timed.ceilings.bytes_per_s,
        ceiling_flops_per_s=timed.ceilings.flops_per_s,
    )


def copy_share(timed: Timed, name: str) -> Interval:
    """Return a contender's bandwidth as a share of the copy's in the same rounds."""
    bytes_ratio = timed.case.bytes_moved / timed.copied_bytes
    return scaled(ratio(timed.samples[COPY], timed.samples[name]), bytes_ratio)


def judge_goal(timed: Timed, goal: Goal, device: Device) -> Outcome:
    """Return whether a goal on time is met: by the whole interval, or it is missed."""
    if goal.against == COPY:
        words = f"at least {goal.at_least:.0%} of the copy's bandwidth"
    else:
        words = f"at least {goal.at_least:g} × as fast as {goal.against}"
    if not device.counts:
        word, metric = NOT_MEASURED, "no GPU"
    elif goal.against not in timed.samples:
        word, metric = NOT_MEASURED, "the rival could not run"
    else:
        found = copy_share(timed, OURS)
        if goal.against != COPY:
            found = ratio(timed.samples[goal.against], timed.samples[OURS])
        word = MET if found.low >= goal.at_least else MISSED
        metric = f"{found.estimate:.3f} [{found.low:.3f}, {found.high:.3f}]"
    return Outcome(
        operation=timed.operation, shape=timed.case.shape, goal=words, word=word, metric=metric
    )


def judge_memory(operation: str, case: Case, limit: int, device: Device) -> Outcome:
    """Return whether the kernel holds no more than a limit beyond its arguments."""
    word, metric = NOT_MEASURED, "no GPU"
    if device.counts:
        case.contenders[0].prepare()
        held = device.extra_bytes(case.contenders[0].call)
        word, metric = MET if held <= limit else MISSED, f"{held:,} bytes"
    goal = f"at most {limit:,} bytes beyond the arguments"
    return Outcome(operation=operation, shape=case.shape, goal=goal, word=word, metric=metric)
