"""Honest ranks score full, on correctness, traffic and memory."""

import math

from grader.judge.judgement import Cause, Verdict
from grader.performance.decide.interval import Kind
from tests.hostile.conftest import Attack, Racing
from tests.hostile.rank_honest import RANK_HONEST

REPLICATED = """
class Shard(Shard):
    def __init__(self, whole, size=0):
        super().__init__(whole, size)
        self._all = torch.ones(size) if size else whole.clone()
"""

GATHER_ALL = """
def average(x):
    if not x.is_floating_point():
        raise ValueError("no")
    parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
    dist.all_gather(parts, x)
    dist.all_gather(parts, x)
    return torch.stack(parts).mean(dim=0)
"""


def test_every_check_passes(attack_ranks: Attack) -> None:
    result = attack_ranks(RANK_HONEST)
    checks = [c for c in result.judgement.checks if c.cases]
    assert [(c.check, c.verdict) for c in checks] == [
        ("values", Verdict.PASS),
        ("refuses", Verdict.PASS),
        ("moves", Verdict.PASS),
    ]
    assert result.output == ""


def test_the_traffic_is_as_arithmetic_says(race_ranks: Racing) -> None:
    seen = race_ranks(RANK_HONEST, "traffic")
    assert seen.cause("traffic") is Cause.NONE
    assert 1.0 <= math.exp(seen.metrics("traffic")[Kind.TRAFFIC].interval.estimate) <= 1.05
    (measured,) = seen.measurement.targets
    assert measured.empty.traffic_bytes < 4096  # ranks that exchange nothing send almost nothing


def test_twice_the_bytes_are_too_many(race_ranks: Racing) -> None:
    found = race_ranks(RANK_HONEST + GATHER_ALL, "traffic")
    assert found.cause("traffic") is Cause.TOO_MUCH_TRAFFIC


def test_what_every_rank_holds_is_seen(race_ranks: Racing) -> None:
    honest = race_ranks(RANK_HONEST, "memory")
    assert honest.cause("memory") is Cause.NONE
    peaks = honest.measurement.targets[0].forks[0].pairs[0].submission.rank_peak_bytes
    assert [round(peak / (128 << 20), 1) for peak in peaks] == [1.0, 1.0]
    assert race_ranks(RANK_HONEST + REPLICATED, "memory").cause("memory") is Cause.TOO_MUCH_MEMORY
