"""The ratio of steps is one of totals, with an interval around it."""

import pytest
import torch

from benchmarks.data_parallel import compare, find_device


def test_a_ratio_of_totals_lies_in_its_interval():
    times = [[0.010 + 0.0001 * (n % 5), 0.010] for n in range(20)] + [[0.1, 0.05]]
    found = compare("DDP", "DistributedDataParallel", times)
    own, theirs = map(sum, zip(*times, strict=True))
    assert found.ratio == pytest.approx(own / theirs)
    assert found.interval[0] < found.ratio < found.interval[1]
    assert (found.reference_ms, found.torch_ms) == pytest.approx((10.2, 10.0))
    assert found.at_most == 1.05


@pytest.mark.parametrize(
    ("asked", "gpus", "found"),
    [("auto", 1, "cpu"), ("auto", 2, "cuda"), ("cpu", 4, "cpu"), ("cuda", 2, "cuda")],
)
def test_ranks_use_gpus_if_there_is_one_for_each(asked, gpus, found, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert find_device(asked, 2) == found


def test_gpus_that_are_not_there_are_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(SystemExit, match="each of 2 ranks, found 1"):
        find_device("cuda", 2)
