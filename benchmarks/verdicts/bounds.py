"""The requirements on performance verdicts, and whether the results meet them.

Input: tallies of replayed series and live verdicts. Output: `Bound`s and `Resolution`s, printed by
`benchmarks.verdicts.table`.

At 10 % from the target, a verdict is wrong if it passes a submission over the target or fails one
under it. Both the known amount of work and the pool's measured ratio are used as the truth, and the
worse count is reported. Closer to the target, the requirement is the confidence of the interval: it
may lie wholly on the wrong side at the rate `ERROR_RATE`. Every FAIL of a submission at the target
or under it counts as such. A submission over the target whose interval contains the target passes
within the reference's noise: the published benefit of the doubt. How often that happens is reported
for each distance, with the distance from which it is no more frequent than an error.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from scipy import stats

from benchmarks.verdicts.cells import FAR
from benchmarks.verdicts.ending import Verdict
from benchmarks.verdicts.live import LiveVerdict
from benchmarks.verdicts.neighbour import Neighbour
from benchmarks.verdicts.patterns import Pattern
from benchmarks.verdicts.replay import NEAR, Tally
from grader.performance.decide.sequential_test import ERROR_RATE

WRONG_FAR = 1 / 500
NEAR_SHARE = 0.90
UNGRADED_IDLE = 0.05
"""Largest share of open verdicts on an idle machine: a method that leaves everything open is never
wrong, and useless."""
LONGEST_S = 20.0
PROPORTION_CONFIDENCE = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class Bound:
    """One requirement.

    Attributes:
        name: of the requirement.
        found: the worst value that was found.
        allowed: the worst value that is allowed.
        where: the cell with the worst value, and the confidence interval of a rate.
        holds: whether the requirement is met.
    """

    name: str
    found: float
    allowed: float
    where: str
    holds: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """How far over the target a submission must be to pass no more often than the error rate.

    Attributes:
        pattern: of the submission.
        neighbour: what else ran on the machine.
        factor: the least such multiple of the target among those tried; 0 if there is none.
    """

    pattern: Pattern
    neighbour: Neighbour
    factor: float


def proportion_interval(count: int, total: int) -> tuple[float, float]:
    """Return the exact confidence interval of the probability behind `count` of `total` events.

    Source: Clopper and Pearson, "The use of confidence or fiducial limits illustrated in the case
    of the binomial", Biometrika 26 (1934); as in `scipy.stats.binomtest`.
    """
    interval = stats.binomtest(count, total).proportion_ci(PROPORTION_CONFIDENCE, method="exact")
    return float(interval.low), float(interval.high)


def bounds_of(tallies: Sequence[Tally], live: Sequence[LiveVerdict]) -> tuple[Bound, ...]:
    """Compare the results with the requirements."""
    far = [t for t in tallies if t.cell.slowness.factor in FAR]
    near = [t for t in tallies if t not in far and not t.cell.is_same]
    same = [t for t in tallies if t.cell.is_same]
    return (
        _worst("wrong at 10 %", far, [max(t.wrong, t.wrong_by_count) for t in far], WRONG_FAR),
        _worst("on the wrong side, closer", near, [t.contradicted for t in near], ERROR_RATE),
        *(_near(tally) for tally in same),
        _worst(
            "ungraded at 10 %, idle",
            idle := [t for t in far if t.cell.neighbour is Neighbour.NONE],
            [t.count(Verdict.UNGRADED) for t in idle],
            UNGRADED_IDLE,
        ),
        *_live_bounds(live),
    )


def resolutions_of(tallies: Sequence[Tally]) -> tuple[Resolution, ...]:
    """Return for each pattern and neighbour the distance at which the benefit of the doubt ends."""
    found: list[Resolution] = []
    for kind in Neighbour:
        for pattern in Pattern:
            over = sorted(
                (
                    t.cell.slowness.factor,
                    t.count(Verdict.PASS, Verdict.PASS_WITHIN_NOISE) / t.series,
                )
                for t in tallies
                if (t.cell.neighbour, t.cell.slowness.pattern) == (kind, pattern)
                and t.cell.slowness.factor > 1
            )
            enough = [
                factor
                for number, (factor, _) in enumerate(over)
                if all(rate <= ERROR_RATE for _, rate in over[number:])
            ]
            factor = enough[0] if enough else 0.0
            found.append(Resolution(pattern=pattern, neighbour=kind, factor=factor))
    return tuple(found)


def _worst(name: str, tallies: Sequence[Tally], counts: Sequence[int], allowed: float) -> Bound:
    """Return the bound on a rate, with the rate of the worst cell."""
    rate, count, tally = max(
        (
            (count / tally.series, count, tally)
            for count, tally in zip(counts, tallies, strict=True)
        ),
        key=lambda one: one[0],
        default=(0.0, 0, None),
    )
    where = "no such cell"
    if tally is not None:
        low, high = proportion_interval(count, tally.series)
        slowness = tally.cell.slowness
        where = (
            f"{slowness.factor:.2f}, {slowness.pattern.value}, {tally.cell.neighbour.value} "
            f"({low:.2%} to {high:.2%})"
        )
    return Bound(name=name, found=rate, allowed=allowed, where=where, holds=rate <= allowed)


def _near(tally: Tally) -> Bound:
    kind = tally.cell.neighbour
    share = tally.near / tally.series
    low, high = proportion_interval(tally.near, tally.series)
    return Bound(
        name=f"reference against itself within ± {NEAR[kind]:g}, at least",
        found=share,
        allowed=NEAR_SHARE,
        where=f"{kind.value} ({low:.2%} to {high:.2%})",
        holds=share >= NEAR_SHARE,
    )


def _live_bounds(live: Sequence[LiveVerdict]) -> tuple[Bound, ...]:
    wrong = sum(one.is_wrong for one in live)
    longest = max((one.wall_s for one in live), default=0.0)
    open_ones = sum(one.verdict is Verdict.UNGRADED for one in live)
    where = f"{len(live)} graded from beginning to end, {open_ones} left open as too noisy"
    return (
        Bound(name="wrong live verdicts", found=wrong, allowed=0, where=where, holds=not wrong),
        Bound(
            name="longest live verdict, s",
            found=longest,
            allowed=LONGEST_S,
            where=where,
            holds=longest < LONGEST_S,
        ),
    )
