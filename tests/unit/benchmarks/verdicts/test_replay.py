"""Replaying pools whose truth is known: right rules are right, and a biased one is found out."""

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.verdicts.bounds import bounds_of, resolutions_of
from benchmarks.verdicts.ending import Verdict
from benchmarks.verdicts.patterns import PASS_AT, SAME, Pattern
from benchmarks.verdicts.replay import BLOCK_FORKS, STAGES, draw_series, pool, replay_cell
from grader.performance.decide.metrics import decide
from grader.performance.decide.sequential_test import Outcome
from tests.unit.benchmarks.verdicts.pools import TARGET, cell, chunks_of

SERIES = 40


def always_pass(target, tier, measured):
    return replace(decide(target, tier, measured), outcome=Outcome.PASS)


def always_fail(target, tier, measured):
    return replace(decide(target, tier, measured), outcome=Outcome.FAIL)


@pytest.mark.parametrize("pattern", Pattern)
@pytest.mark.parametrize(("factor", "over"), [(0.9, False), (1.1, True)])
def test_steady_machines_give_right_verdicts(factor, over, pattern):
    one = cell(factor, pattern)
    tally = replay_cell(one, chunks_of(one), TARGET, SERIES)
    assert (tally.over, tally.wrong, tally.wrong_by_count) == (over, 0, 0)
    assert tally.count(Verdict.FAIL if over else Verdict.PASS) == SERIES


@pytest.mark.parametrize(("factor", "rule"), [(1.3, always_pass), (0.9, always_fail)])
def test_a_biased_rule_is_caught(factor, rule):
    one = cell(factor)
    tally = replay_cell(one, chunks_of(one), TARGET, SERIES, judge=rule)
    assert tally.wrong == tally.wrong_by_count == SERIES


def test_a_biased_rule_breaks_a_bound():
    one = cell(1.1)
    fair = replay_cell(one, chunks_of(one), TARGET, SERIES)
    biased = replay_cell(one, chunks_of(one), TARGET, SERIES, judge=always_pass)
    assert bounds_of([fair], [])[0].holds
    (bound, *_) = bounds_of([fair, biased], [])
    assert not bound.holds
    assert bound.found == 1.0


def test_the_pool_says_what_its_forks_say_together():
    one = cell(1.05)
    pooled = pool(chunks_of(one), TARGET)
    assert np.exp(pooled.log_ratio) == pytest.approx(1.05 * PASS_AT, rel=0.005)
    assert pooled.error < 0.005


def test_series_are_made_of_whole_blocks_and_the_same_every_time():
    chunks = chunks_of(cell(1.0))
    first, again = (draw_series(chunks, np.random.default_rng(3)) for _ in range(2))
    assert first == again
    assert len(first.forks) == STAGES[-1]
    forks = [fork for chunk in chunks for fork in chunk.forks]
    for start in range(0, STAGES[-1], BLOCK_FORKS):
        where = forks.index(first.forks[start])
        assert where % BLOCK_FORKS == 0
        assert tuple(forks[where : where + BLOCK_FORKS]) == first.forks[start : start + BLOCK_FORKS]


def test_the_reference_against_itself_is_near():
    one = cell(SAME)
    tally = replay_cell(one, chunks_of(one, noise=0.005), TARGET, SERIES)
    assert tally.near == SERIES
    apart = replay_cell(one, chunks_of(cell(0.9)), TARGET, SERIES)
    assert apart.near == 0
    assert [bound.holds for bound in bounds_of([apart], []) if "itself" in bound.name] == [False]


def test_passing_within_noise_ends_at_some_distance():
    at, over = cell(1.02), cell(1.1)
    tallies = [replay_cell(one, chunks_of(one, noise=0.05), TARGET, SERIES) for one in (at, over)]
    assert tallies[0].count(Verdict.PASS_WITHIN_NOISE) > 0
    assert {one.factor for one in resolutions_of(tallies)} == {0.0, 1.1}


def waiting(chunks, *, foreign_ns):
    """The same forks, in which the submission took twice its wall-clock time."""

    def longer(pair):
        submission = replace(pair.submission, wall_ns=2 * pair.submission.wall_ns)
        return replace(pair, submission=submission, foreign_ns=foreign_ns)

    return tuple(
        replace(
            chunk,
            forks=tuple(
                replace(fork, pairs=tuple(longer(one) for one in fork.pairs))
                for fork in chunk.forks
            ),
        )
        for chunk in chunks
    )


def test_who_sleeps_is_judged_by_the_clock_and_who_waits_for_a_processor_is_not():
    one = cell(0.9)
    slept = replay_cell(one, waiting(chunks_of(one), foreign_ns=0), TARGET, SERIES)
    assert slept.by_wall_clock == slept.count(Verdict.FAIL) == SERIES
    waited = replay_cell(one, waiting(chunks_of(one), foreign_ns=10**9), TARGET, SERIES)
    assert (waited.by_wall_clock, waited.count(Verdict.PASS)) == (0, SERIES)
