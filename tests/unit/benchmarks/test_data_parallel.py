"""The ratio of steps is one of totals, with an interval around it."""

import pytest

from benchmarks.data_parallel import compare


def test_a_ratio_of_totals_lies_in_its_interval():
    times = [[0.010 + 0.0001 * (n % 5), 0.010] for n in range(20)] + [[0.1, 0.05]]
    found = compare("DDP", "DistributedDataParallel", times)
    own, theirs = map(sum, zip(*times, strict=True))
    assert found.ratio == pytest.approx(own / theirs)
    assert found.interval[0] < found.ratio < found.interval[1]
    assert (found.reference_ms, found.torch_ms) == pytest.approx((10.2, 10.0))
    assert found.at_most == 1.05
