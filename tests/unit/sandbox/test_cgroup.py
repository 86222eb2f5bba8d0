"""Control groups, against a tree of plain files that looks like the kernel's."""

import errno
import os

import pytest

from grader.errors import SandboxError
from grader.sandbox import cgroup as cgroup_module
from grader.sandbox.cgroup import PARENT, Cgroup, make_cgroup, parents
from tests.unit.sandbox.plain_files import LIMITS, empty


def test_version_2_writes_both_limits_into_one_group(version_2):
    group = make_cgroup("w0", **LIMITS, root=version_2)
    folder = version_2 / PARENT / "w0"
    assert group == Cgroup(version=2, memory=folder, pids=folder, cpu=folder)
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert (folder / "pids.max").read_text() == "64"
    for parent in (version_2, version_2 / PARENT):
        assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert not (folder / "memory.swap.max").exists()  # a kernel without swap accounting


def test_version_2_leaves_no_swap_to_flee_to(version_2, monkeypatch):
    made = type(version_2).mkdir

    def mkdir(self, *args, **kwargs):
        made(self, *args, **kwargs)
        (self / "memory.swap.max").write_text("max")

    monkeypatch.setattr(type(version_2), "mkdir", mkdir)
    make_cgroup("w0", **LIMITS, root=version_2)
    assert (version_2 / PARENT / "w0" / "memory.swap.max").read_text() == "0"


def test_version_1_bounds_what_lies_in_sockets(version_1, monkeypatch):
    made = type(version_1).mkdir

    def mkdir(self, *args, **kwargs):
        made(self, *args, **kwargs)
        (self / "memory.kmem.tcp.limit_in_bytes").write_text("max")

    monkeypatch.setattr(type(version_1), "mkdir", mkdir)
    group = make_cgroup("w0", **LIMITS, root=version_1)
    assert group is not None
    limit = (group.memory / "memory.kmem.tcp.limit_in_bytes").read_text()
    assert int(limit) == cgroup_module.SOCKET_BYTES


@pytest.mark.parametrize("controllers", ["", "memory", "pids cpu"])
def test_version_2_without_the_controllers_gives_nothing(version_2, controllers):
    (version_2 / "cgroup.controllers").write_text(controllers)
    assert make_cgroup("w0", **LIMITS, root=version_2) is None
    assert not (version_2 / PARENT).exists()


def test_version_1_writes_each_limit_into_its_hierarchy(version_1):
    group = make_cgroup("w0", **LIMITS, root=version_1)
    assert group is not None
    assert group.version == 1
    assert group.memory == version_1 / "memory" / "mine" / PARENT / "w0"
    assert group.pids == version_1 / "pids" / "mine" / PARENT / "w0"
    assert (group.memory / "memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (group.pids / "pids.max").read_text() == "64"


def test_no_control_groups_at_all(tmp_path):
    assert make_cgroup("w0", **LIMITS, root=tmp_path) is None
    (tmp_path / "memory").mkdir()
    assert make_cgroup("w0", **LIMITS, root=tmp_path) is None


@pytest.mark.parametrize("code", [errno.EACCES, errno.EPERM, errno.EROFS])
@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_a_user_who_may_not_gets_nothing(tree, code, request, monkeypatch):
    root = request.getfixturevalue(tree)

    def refuse(self, *args, **kwargs):
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(type(root), "mkdir", refuse)
    assert make_cgroup("w0", **LIMITS, root=root) is None


def test_any_other_failure_is_a_sandbox_error(version_2):
    make_cgroup("w0", **LIMITS, root=version_2)
    with pytest.raises(SandboxError, match="a control group could not be made"):
        make_cgroup("w0", **LIMITS, root=version_2)


@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_a_process_enters_every_hierarchy(tree, request):
    group = make_cgroup("w0", **LIMITS, root=request.getfixturevalue(tree))
    assert group is not None
    group.enter(4711)
    for folder in group.folders:
        assert (folder / "cgroup.procs").read_text() == "4711"


def test_a_process_that_cannot_be_limited_is_an_error(version_2):
    group = make_cgroup("w0", **LIMITS, root=version_2)
    assert group is not None
    empty(group.memory)
    group.remove()
    with pytest.raises(SandboxError, match="process 4711 could not be moved"):
        group.enter(4711)


@pytest.mark.parametrize(
    ("version", "file", "text", "kills"),
    [
        (2, "memory.events", "low 0\nhigh 3\nmax 17\noom 2\noom_kill 1\noom_group_kill 9\n", 1),
        (2, "memory.events", "low 0\noom 2\n", 0),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\n", 0),
    ],
)
def test_kills_for_want_of_memory_are_counted(tmp_path, version, file, text, kills):
    (tmp_path / file).write_text(text)
    assert at(tmp_path, version).oom_kills() == kills


def at(folder, version):
    return Cgroup(version=version, memory=folder, pids=folder, cpu=folder)


def test_version_2_counts_processor_time_and_the_peak(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n")
    (tmp_path / "memory.peak").write_text("104857600\n")
    assert at(tmp_path, 2).cpu_ns() == 1_234_000
    assert at(tmp_path, 2).peak_bytes() == 100 << 20


def test_version_1_counts_processor_time_and_the_peak(tmp_path):
    (tmp_path / "cpuacct.usage").write_text("1234567\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("104857600\n")
    assert at(tmp_path, 1).cpu_ns() == 1_234_567
    assert at(tmp_path, 1).peak_bytes() == 100 << 20
    (tmp_path / "memory.memsw.max_usage_in_bytes").write_text("209715200\n")
    assert at(tmp_path, 1).peak_bytes() == 200 << 20


def test_a_meter_that_is_not_there_is_no_zero(tmp_path):
    with pytest.raises(SandboxError, match="meter of the control group could not be read"):
        at(tmp_path, 2).peak_bytes()


def test_the_folder_above_may_vanish_while_a_group_is_made(version_2, monkeypatch):
    made = type(version_2).mkdir
    vanished: list[object] = []

    def mkdir(self, *args, **kwargs):
        if self.name == "w0" and not vanished:
            vanished.append(self)
            self.parent.rmdir()
        made(self, *args, **kwargs)

    monkeypatch.setattr(type(version_2), "mkdir", mkdir)
    assert make_cgroup("w0", **LIMITS, root=version_2) is not None
    assert vanished


@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_removal_leaves_nothing(tree, request):
    root = request.getfixturevalue(tree)
    group = make_cgroup("w0", **LIMITS, root=root)
    other = make_cgroup("w1", **LIMITS, root=root)
    assert group is not None
    assert other is not None
    for folder in group.folders:
        empty(folder)
    group.remove()
    assert not group.memory.exists()
    cgroup_module.remove_parents(root)
    assert other.memory.exists()  # the parent is shared and stays
    group.remove()  # twice is no error
    for folder in other.folders:
        empty(folder)
    other.remove()
    cgroup_module.remove_parents(root)
    if tree == "version_1":  # made of plain files: of version 2 the parent's own files stay
        assert parents(root) == ()


def test_removal_waits_for_the_kernel_and_then_gives_up(version_2, monkeypatch):
    group = make_cgroup("w0", **LIMITS, root=version_2)
    assert group is not None
    empty(group.memory)
    real, calls = type(version_2).rmdir, []

    def busy(self):
        calls.append(self)
        if self == group.memory and len(calls) < 4:
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        real(self)

    monkeypatch.setattr(type(version_2), "rmdir", busy)
    group.remove()
    assert len(calls) >= 4
    group.memory.mkdir()
    calls.clear()
    monkeypatch.setattr(cgroup_module, "REMOVE_SECONDS", -1.0)
    with pytest.raises(SandboxError, match="could not be removed"):
        group.remove()


def test_a_group_that_is_not_empty_is_an_error_at_once(version_2):
    group = make_cgroup("w0", **LIMITS, root=version_2)
    assert group is not None
    with pytest.raises(SandboxError, match="could not be removed"):
        group.remove()


def test_the_own_path_is_read_from_the_kernels_table():
    path = cgroup_module._own_path("no such controller")
    assert path == ""
    assert not cgroup_module._own_path("memory").startswith("/")
