"""Tensors over a block: the mapping that torch is told of, and how long it lasts."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from grader.runner.cuda import memory as device_memory
from grader.runner.cuda.api import CudaApi, CudaCallFailed
from grader.runner.cuda.memory import _Mapping
from grader.runner.tensors import TensorHeader, view
from tests.unit.worker.cuda.fake_libraries import FakeCuda

ROOT = Path(__file__).resolve().parents[4]
SIZE = 2 << 20


def test_torch_is_told_of_pointer_and_size():
    mapping = _Mapping(CudaApi(FakeCuda(), 0), 9, SIZE)
    told = mapping.__cuda_array_interface__
    assert told["data"] == (0xC0FFEE, False)
    assert (told["shape"], told["typestr"], told["version"]) == ((SIZE,), "|u1", 3)


def test_a_mapping_ends_with_its_last_user_and_waits_for_the_device():
    library = FakeCuda()
    mapping = _Mapping(CudaApi(library, 0), 9, SIZE)
    before = len(library.names())
    del mapping
    assert library.names()[before:] == [
        "cuCtxSynchronize",
        "cuMemUnmap",
        "cuMemAddressFree",
        "cuMemRelease",
    ]


def test_a_mapping_that_fails_leaves_nothing():
    library = FakeCuda(cuMemMap=2)
    with pytest.raises(CudaCallFailed):
        _Mapping(CudaApi(library, 0), 9, SIZE)
    assert library.names()[-2:] == ["cuMemAddressFree", "cuMemRelease"]
    library = FakeCuda(cuMemImportFromShareableHandle=1)
    with pytest.raises(CudaCallFailed):
        _Mapping(CudaApi(library, 0), 9, SIZE)
    assert library.names()[-2:] == ["cuMemImportFromShareableHandle", "cuGetErrorName"]


def test_an_end_after_cudas_own_is_silent():
    library = FakeCuda()
    mapping = _Mapping(CudaApi(library, 0), 9, SIZE)
    library.failing["cuCtxSynchronize"] = 4  # CUDA_ERROR_DEINITIALIZED
    del mapping
    assert library.names()[-2:] == ["cuCtxSynchronize", "cuGetErrorName"]


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_a_size_is_rounded_as_the_judge_rounds_it(monkeypatch, size):
    made = []
    monkeypatch.setattr(device_memory, "open_cuda", lambda: CudaApi(FakeCuda(), 0))
    monkeypatch.setattr(device_memory, "_Mapping", lambda *arguments: made.append(arguments))
    monkeypatch.setattr(torch, "as_tensor", lambda mapping, device: mapping)
    device_memory.open_block(7, size)
    assert made[0][1:] == (7, SIZE)


def test_tensors_lie_where_their_headers_say():
    flat = torch.arange(64, dtype=torch.uint8)
    header = TensorHeader(dtype="int16", shape=(2, 3), strides=(4, 1), offset=8)
    tensor = view(flat, header)
    assert tensor.stride() == (4, 1)
    assert tensor[1, 2].item() == 8 + 2 * 6 + 256 * (8 + 2 * 6 + 1)
    tensor.zero_()
    assert flat[8:14].tolist() == [0] * 6
    assert flat[14] == 14
    empty = view(flat, TensorHeader(dtype="float32", shape=(0, 3), strides=(3, 1), offset=0))
    assert empty.shape == (0, 3)


def test_importing_the_device_side_begins_no_cuda():
    """A process that has initialised CUDA cannot be forked, and the fork server imports this."""
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); "
        "import runner.cuda.worker, torch; "
        "assert not torch.cuda.is_initialized(); "
        "maps = open('/proc/self/maps').read(); assert 'libcuda.so' not in maps"
    )
    command = [sys.executable, "-I", "-c", code, str(ROOT / "grader")]
    subprocess.run(command, check=True, env=dict(os.environ), timeout=120)
