"""The exact interval of a proportion, against its definition by binomial tails."""

import pytest
from scipy import stats

from benchmarks.verdicts.bounds import proportion_interval


@pytest.mark.parametrize(("count", "of"), [(1, 500), (10, 5000), (250, 5000), (49, 50)])
def test_the_bounds_are_where_the_tails_are_half_the_error(count, of):
    low, high = proportion_interval(count, of)
    assert stats.binom.sf(count - 1, of, low) == pytest.approx(0.025, rel=1e-6)
    assert stats.binom.cdf(count, of, high) == pytest.approx(0.025, rel=1e-6)


def test_none_and_all():
    assert proportion_interval(0, 100)[0] == 0.0
    assert proportion_interval(0, 100)[1] == pytest.approx(1 - 0.025 ** (1 / 100))
    assert proportion_interval(100, 100)[1] == 1.0
