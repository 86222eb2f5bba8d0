"""Publishes the workloads of performance targets for students, as `public/_performance.json`.

The author's generators are asked for their steps under the public seed; nothing runs. What a
submission would reply is a placeholder, so a workload that looks into replies before its measured
phase ends is not published. Targets that no processor is graded on are left out.
"""

from pathlib import Path

from grader.assignment.declare import Key, Workload, load_workloads
from grader.assignment.draw import PUBLIC_SEED, Draw
from grader.assignment.steps import (
    Each,
    Expect,
    New,
    OverwriteArguments,
    PhaseEnd,
    Raises,
    Ref,
    Work,
    WorkloadStep,
)
from grader.assignment.table import Assignment, Problem, load_assignment
from grader.assignment.target import CPU, Quantity, Target
from grader.student.trace import ReplyPart
from grader.student.workloads import (
    PERFORMANCE_FILE,
    PublishedRun,
    PublishedTarget,
    dump_targets,
    publish,
)


def record_performance(assignment: Path, reference: Path) -> dict[str, str]:
    """Return the text of `_performance.json` by its name; nothing if no target can be published."""
    table, workloads = load_assignment(assignment), load_workloads(reference)
    found = [
        published
        for problem in table.problems
        for target in problem.targets
        if (published := _target(table, problem, target, workloads)) is not None
    ]
    return {PERFORMANCE_FILE: dump_targets(tuple(found))} if found else {}


def _target(
    table: Assignment, problem: Problem, target: Target, workloads: dict[Key, Workload]
) -> PublishedTarget | None:
    workload = workloads.get((problem.name, target.name))
    if workload is None or not target.tiers_for(CPU):
        return None
    path = (table.slug, problem.name, target.name)
    try:
        runs = tuple(_run(workload, target, Draw(PUBLIC_SEED, path, 0), n) for n in workload.sizes)
    except (TypeError, AttributeError, KeyError, IndexError, ValueError):
        return None  # it computes with a reply
    return PublishedTarget(
        problem=problem.name,
        target=target.name,
        quantity=target.quantity,
        ranks=problem.ranks,
        description=" ".join((workload.make.__doc__ or "").split()),
        runs=runs,
    )


def _run(workload: Workload, target: Target, draw: Draw, size: int) -> PublishedRun:
    """Return the steps of a workload up to the end of its measured phase."""
    texts: list[str] = []
    work: list[Work] = []
    refs, ended, reply = 0, False, None
    steps = workload(draw, size)
    try:
        while not (ended and (work or target.quantity is not Quantity.TRAFFIC)):
            step: WorkloadStep = steps.send(reply)
            reply = None
            if isinstance(step, Work):
                work.append(step)
            elif not isinstance(step, Expect | Raises | OverwriteArguments):
                made = isinstance(step, New) or (
                    isinstance(step, Each) and isinstance(step.steps[0], New)
                )
                reply = Ref(refs) if made else ReplyPart(step=len(texts))
                refs += made
                texts.append(publish(step))
                ended = ended or isinstance(step, PhaseEnd)
    except StopIteration:
        pass
    finally:
        steps.close()
    return PublishedRun(
        size=size,
        steps=_counted(texts),
        bytes_moved=sum(one.bytes_moved for one in work),
        traffic_bytes=sum(one.traffic_bytes for one in work),
        derivation="; ".join(filter(None, (one.derivation for one in work))),
    )


def _counted(texts: list[str]) -> tuple[tuple[int, str], ...]:
    """Return equal neighbours once, with their number."""
    groups: list[tuple[int, str]] = []
    for text in texts:
        if groups and groups[-1][1] == text:
            groups[-1] = (groups[-1][0] + 1, text)
        else:
            groups.append((1, text))
    return tuple(groups)
