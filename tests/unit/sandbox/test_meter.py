"""Meters read what Linux counts; a meter that cannot be read is an error."""

import os
import subprocess
from pathlib import Path

import pytest

from grader.errors import SandboxError
from grader.sandbox.cgroup import Cgroup
from grader.sandbox.meter import Meter, Usage, open_traffic_counter, traffic_bytes

NET_DEV = """\
Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop
    lo: 84110609    1200    0    0    0     0          0         0 84110609    1200    0    0
  eth0:     1000      10    0    0    0     0          0         0      500       5    0    0
"""


def test_received_bytes_of_all_interfaces_add_up(tmp_path: Path) -> None:
    (tmp_path / "7/net").mkdir(parents=True)
    (tmp_path / "7/net/dev").write_text(NET_DEV)
    fd = open_traffic_counter(7, tmp_path)
    assert [traffic_bytes(fd), traffic_bytes(fd)] == [84_111_609] * 2
    os.close(fd)


def test_without_proc_there_is_no_traffic(tmp_path: Path) -> None:
    assert traffic_bytes(open_traffic_counter(7, tmp_path / "proc")) == 0


def test_a_namespace_is_metered_after_its_process_has_ended() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        fd = open_traffic_counter(process.pid)
        process.kill()
    assert traffic_bytes(fd) >= 0
    os.close(fd)


def test_a_process_that_has_ended_is_no_zero(tmp_path: Path) -> None:
    with pytest.raises(SandboxError, match="network counters"):
        open_traffic_counter(7, tmp_path)


def test_a_meter_reads_all_three(tmp_path: Path) -> None:
    (tmp_path / "cpu.stat").write_text("usage_usec 5\n")
    (tmp_path / "memory.peak").write_text("4096\n")
    (tmp_path / "cgroup.procs").write_text(f"{os.getpid()}\n")
    cgroup = Cgroup(version=2, memory=tmp_path, pids=tmp_path, cpu=tmp_path)
    meter = Meter(cgroup, os.getpid())
    read = meter.read()
    meter.close()
    meter.close()  # twice is no error
    assert meter.counts
    assert (read.cpu_ns, read.peak_bytes) == (5000, 4096)
    assert read.ran_ns > 0 or not Path("/proc/self/schedstat").exists()


def test_without_a_cgroup_nothing_counts() -> None:
    meter = Meter(None, os.getpid())
    assert not meter.counts
    assert meter.read() == Usage(cpu_ns=0, peak_bytes=0, traffic_bytes=0)
    assert meter.oom_kills() == 0
