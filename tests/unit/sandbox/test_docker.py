"""The GPU that a container asks for, without an engine."""

from grader.assignment.table import Limits
from grader.sandbox.docker import _gpus
from grader.sandbox.pool import sandbox_spec


def test_a_sandbox_on_the_cpu_gets_no_gpu():
    assert _gpus(sandbox_spec(Limits(), slot=0, device="cpu", image="i")) == []


def test_one_gpu_is_named_and_no_other_is_added():
    spec = sandbox_spec(Limits(), slot=0, device="cuda", image="i", gpu_uuid="GPU-1")
    (request,) = _gpus(spec)
    assert (request.driver, request.device_ids) == ("cdi", ["nvidia.com/gpu=GPU-1"])
    assert request.count == 0
