"""Whether what raised under a denial works without it: the failing cases, run once more.

Takes: a problem's measurements, an open box in which nothing is denied. Gives: measurements that
can change a cause and never earn a point. Does not cover: that cause (see `judge`).

The box's own word that it met the denial proves nothing: any submission can raise an exception of
the same name and text. That the same calls come to their end without it is seen from outside.
"""

from collections.abc import Sequence

from grader.measure.drive import Raised, Stopped, drive
from grader.measure.instances import Instance
from grader.measure.measurement import CaseMeasurement, ErrorObservation, FaultKind
from grader.measure.ranks import AnySession
from grader.plan.plan import Plan


def first_raised(done: Sequence[CaseMeasurement]) -> tuple[CaseMeasurement, ...]:
    """Return the first case of each check that an exception, which no step asked for, made fail."""
    found: dict[str, CaseMeasurement] = {}
    for case in done:
        if _has_raised(case):
            found.setdefault(case.check, case)
    return tuple(found.values())


def _has_raised(case: CaseMeasurement) -> bool:
    if any(fault.kind is FaultKind.EXCEPTION for fault in case.faults):
        return True
    errors = (one for one in case.observations if isinstance(one, ErrorObservation))
    return any(error.got and not error.matches for error in errors)


def run_undenied(
    session: AnySession, waiting: Sequence[Instance], plan: Plan, harness: str
) -> tuple[CaseMeasurement, ...]:
    """Run cases in a box without a denial, as far as it gets; what it prints is not kept."""
    try:
        session.load(harness)
    except (Raised, Stopped):
        return ()
    limit_ns = plan.limits.problem_wall_s * 1e9
    done: list[CaseMeasurement] = []
    for instance in waiting:
        if not session.alive or session.wall_ns > limit_ns:
            break
        maker = instance.maker
        steps = instance.steps(plan)
        done.append(
            drive(steps, session, check=maker.check, index=instance.index, public=instance.public)
        )
        session.end_case()
    return tuple(done)
