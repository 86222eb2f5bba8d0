"""What a container is asked for, without an engine."""

from grader.assignment.table import Limits
from grader.sandbox.docker import _gpus
from grader.sandbox.pool import sandbox_spec


def test_a_wall_on_the_processor_is_given_no_gpu():
    assert _gpus(sandbox_spec(Limits(), slot=0, device="cpu", image="i")) == []


def test_a_gpu_is_named_and_no_other_comes_with_it():
    spec = sandbox_spec(Limits(), slot=0, device="cuda", image="i", gpu_uuid="GPU-1")
    (request,) = _gpus(spec)
    assert (request.driver, request.device_ids) == ("cdi", ["nvidia.com/gpu=GPU-1"])
    assert request.count == 0
