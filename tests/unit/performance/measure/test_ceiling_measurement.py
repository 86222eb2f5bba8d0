"""The processor's own ceilings, with few and small sizes."""

import contextlib

import pytest
import torch

from grader.performance.decide.plausibility import beats_floor, floor_ns
from grader.performance.measure import ceilings as ceiling_measurement
from grader.performance.measure.ceilings import find_setting, measure_ceilings
from tests.unit.performance.measure.ceiling_samples import CEILINGS, SETTING


def test_a_setting_names_hardware_and_versions():
    setting = find_setting("cpu")
    assert setting.device_class == "cpu"
    assert setting.torch == torch.__version__
    assert setting.hardware
    assert setting.driver
    assert setting == find_setting("cpu")


def test_the_processor_has_ceilings(monkeypatch):
    monkeypatch.setattr(ceiling_measurement, "CPU_SIZES_BYTES", (1 << 14, 1 << 16))
    monkeypatch.setattr(ceiling_measurement, "CPU_MATRICES", (32, 64))
    monkeypatch.setattr(ceiling_measurement, "CPU_DTYPES", (torch.float32,))
    monkeypatch.setattr(ceiling_measurement, "CPU_REPEAT_SECONDS", 0.001)
    threads = torch.get_num_threads()
    ceilings = measure_ceilings(find_setting("cpu"))
    assert torch.get_num_threads() == threads
    assert [rate.way for rate in ceilings.memory] == ["copy", "read", "write"]
    assert [rate.dtype for rate in ceilings.matmul] == ["float32"]
    assert 1e7 < ceilings.bytes_per_s < 1e13
    assert 1e6 < ceilings.flops_per_s("float32") < 1e14
    assert beats_floor(1.0, floor_ns(1 << 30, 0, ceilings))


@pytest.mark.parametrize("fails", [False, True])
def test_what_torch_keeps_of_a_device_is_given_back(monkeypatch, fails):
    given_back = []

    def rates():
        if fails:
            raise RuntimeError("CUDA error")
        return CEILINGS.memory, CEILINGS.matmul

    monkeypatch.setattr(ceiling_measurement, "_cuda_rates", rates)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: given_back.append(True))
    with contextlib.suppress(RuntimeError):
        assert measure_ceilings(SETTING).memory == CEILINGS.memory
    assert given_back == [True]
