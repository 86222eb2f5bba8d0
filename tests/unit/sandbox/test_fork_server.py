"""Where a worker on a GPU finds CUDA's driver."""

import pytest

from grader.sandbox.fork_server import driver_environment, environment

LINE = "7f00-7f01 r-xp 00000000 08:01 42                         {}\n"


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("/usr/local/nvidia/lib64/libcuda.so.580.159.03", "/usr/local/nvidia/lib64"),
        ("/opt/driver one/libcuda.so.1", "/opt/driver one"),
        ("/usr/lib/x86_64-linux-gnu/libcuda.so.1", ""),
        ("/usr/lib64/libcuda.so.1", ""),
        ("/lib/libcuda.so", ""),
        ("/usr/local/cuda/lib64/libcudart.so.13", ""),
    ],
)
def test_the_folder_of_the_judges_own_driver_unless_it_is_found_anyway(tmp_path, path, named):
    maps = tmp_path / "maps"
    maps.write_text(LINE.format(path) * 2 + "7f02-7f03 rw-p 00000000 00:00 0\n")
    assert driver_environment("cuda", maps) == ({"LD_LIBRARY_PATH": named} if named else {})
    assert driver_environment("cpu", maps) == {}


def test_a_worker_on_the_cpu_gets_nothing_of_the_judges():
    assert "LD_LIBRARY_PATH" not in environment(1)
