"""Attack 1: replace every clock and statistic within reach.

None of them is the judge's clock or a meter of the cgroup."""

import pytest

from grader.judge.judgement import Cause
from tests.hostile.conftest import Racing
from tests.hostile.unhurried import HONEST, SLOW_MIX

PATCHES = """
import statistics, time
import numpy
import torch.utils.benchmark

for name in ("perf_counter", "monotonic", "time", "process_time", "thread_time"):
    setattr(time, name, lambda: 0.0)
    if hasattr(time, name + "_ns"):
        setattr(time, name + "_ns", lambda: 0)
for name in ("mean", "median", "fmean", "stdev"):
    setattr(statistics, name, lambda *args: 0.0)
for name in ("mean", "median", "percentile", "log", "std"):
    setattr(numpy, name, lambda *args, **kwargs: 0.0)
torch.utils.benchmark.Timer.timeit = lambda *args: 0.0
torch.utils.benchmark.timer = lambda: 0.0
torch.cuda.Event.elapsed_time = lambda *args: 1e-9
torch.cuda.synchronize = lambda *args: None
"""


@pytest.mark.parametrize("target", ["time", "clock"])
def test_patched_timers_measure_nothing(race: Racing, target: str) -> None:
    assert race(HONEST + SLOW_MIX + PATCHES, target).cause(target) is Cause.TOO_SLOW
