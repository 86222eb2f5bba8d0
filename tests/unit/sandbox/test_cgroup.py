"""Cgroups, tried on a tree of plain files that looks like Linux's."""

import errno
import os

import pytest

from grader.errors import SandboxError
from grader.sandbox import cgroup as cgroup_module
from grader.sandbox.cgroup import (
    HIGH_WEIGHT_PARENT,
    PARENT,
    Cgroup,
    make_cgroup,
    parents,
    remove_parents,
)
from tests.unit.sandbox.plain_files import LIMITS, empty


def test_version_2_writes_both_limits_into_one_group(version_2):
    cgroup = make_cgroup("w0", **LIMITS, root=version_2)
    folder = version_2 / PARENT / "w0"
    assert cgroup == Cgroup(version=2, memory=folder, pids=folder, cpu=folder)
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert (folder / "pids.max").read_text() == "64"
    for parent in (version_2, version_2 / PARENT):
        assert (parent / "cgroup.subtree_control").read_text() == "+memory +pids"
    assert not (folder / "memory.swap.max").exists()  # a Linux without swap accounting


def test_version_2_allows_no_swap(version_2, monkeypatch):
    made = type(version_2).mkdir

    def mkdir(self, *args, **kwargs):
        made(self, *args, **kwargs)
        (self / "memory.swap.max").write_text("max")

    monkeypatch.setattr(type(version_2), "mkdir", mkdir)
    make_cgroup("w0", **LIMITS, root=version_2)
    assert (version_2 / PARENT / "w0" / "memory.swap.max").read_text() == "0"


def test_version_1_limits_the_buffers_of_sockets(version_1, monkeypatch):
    made = type(version_1).mkdir

    def mkdir(self, *args, **kwargs):
        made(self, *args, **kwargs)
        (self / "memory.kmem.tcp.limit_in_bytes").write_text("max")

    monkeypatch.setattr(type(version_1), "mkdir", mkdir)
    cgroup = make_cgroup("w0", **LIMITS, root=version_1)
    assert cgroup is not None
    limit = (cgroup.memory / "memory.kmem.tcp.limit_in_bytes").read_text()
    assert int(limit) == cgroup_module.SOCKET_BYTES


@pytest.mark.parametrize("controllers", ["", "memory", "pids cpu"])
def test_version_2_without_the_controllers_gives_nothing(version_2, controllers):
    (version_2 / "cgroup.controllers").write_text(controllers)
    assert make_cgroup("w0", **LIMITS, root=version_2) is None
    assert not (version_2 / PARENT).exists()


def test_version_1_writes_each_limit_into_its_hierarchy(version_1):
    cgroup = make_cgroup("w0", **LIMITS, root=version_1)
    assert cgroup is not None
    assert cgroup.version == 1
    assert cgroup.memory == version_1 / "memory" / "mine" / PARENT / "w0"
    assert cgroup.pids == version_1 / "pids" / "mine" / PARENT / "w0"
    assert (cgroup.memory / "memory.limit_in_bytes").read_text() == str(512 << 20)
    assert (cgroup.pids / "pids.max").read_text() == "64"


def test_no_cgroups_at_all(tmp_path):
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
    with pytest.raises(SandboxError, match="a cgroup could not be made"):
        make_cgroup("w0", **LIMITS, root=version_2)


@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_a_process_enters_every_hierarchy(tree, request):
    cgroup = make_cgroup("w0", **LIMITS, root=request.getfixturevalue(tree))
    assert cgroup is not None
    cgroup.enter(4711)
    for folder in cgroup.folders:
        assert (folder / "cgroup.procs").read_text() == "4711"


def test_a_process_that_cannot_be_limited_is_an_error(version_2):
    cgroup = make_cgroup("w0", **LIMITS, root=version_2)
    assert cgroup is not None
    empty(cgroup.memory)
    cgroup.remove()
    with pytest.raises(SandboxError, match="process 4711 could not be moved"):
        cgroup.enter(4711)


@pytest.mark.parametrize(
    ("version", "file", "text", "kills"),
    [
        (2, "memory.events", "low 0\nhigh 3\nmax 17\noom 2\noom_kill 1\noom_group_kill 9\n", 1),
        (2, "memory.events", "low 0\noom 2\n", 0),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", 3),
        (1, "memory.oom_control", "oom_kill_disable 0\nunder_oom 1\n", 0),
    ],
)
def test_kills_because_memory_ran_out_are_counted(tmp_path, version, file, text, kills):
    (tmp_path / file).write_text(text)
    assert at(tmp_path, version).oom_kills() == kills


def at(folder, version):
    return Cgroup(version=version, memory=folder, pids=folder, cpu=folder)


def test_version_2_counts_cpu_time_and_the_peak(tmp_path):
    (tmp_path / "cpu.stat").write_text("usage_usec 1234\nuser_usec 1000\nsystem_usec 234\n")
    (tmp_path / "memory.peak").write_text("104857600\n")
    assert at(tmp_path, 2).cpu_ns() == 1_234_000
    assert at(tmp_path, 2).peak_bytes() == 100 << 20


def test_version_1_counts_cpu_time_and_the_peak(tmp_path):
    (tmp_path / "cpuacct.usage").write_text("1234567\n")
    (tmp_path / "memory.max_usage_in_bytes").write_text("104857600\n")
    assert at(tmp_path, 1).cpu_ns() == 1_234_567
    assert at(tmp_path, 1).peak_bytes() == 100 << 20
    (tmp_path / "memory.memsw.max_usage_in_bytes").write_text("209715200\n")
    assert at(tmp_path, 1).peak_bytes() == 200 << 20


def test_a_missing_meter_is_an_error_and_no_zero(tmp_path):
    with pytest.raises(SandboxError, match="meter of the cgroup could not be read"):
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
    cgroup = make_cgroup("w0", **LIMITS, root=root)
    other = make_cgroup("w1", **LIMITS, root=root)
    assert cgroup is not None
    assert other is not None
    for folder in cgroup.folders:
        empty(folder)
    cgroup.remove()
    assert not cgroup.memory.exists()
    remove_parents(root)
    assert other.memory.exists()  # another cgroup is in the parent
    cgroup.remove()  # twice is no error
    for folder in other.folders:
        empty(folder)
    other.remove()
    remove_parents(root)
    if tree == "version_1":  # in version 2, the parent's own plain files are left
        assert parents(root) == ()


def test_removal_waits_for_linux_and_then_gives_up(version_2, monkeypatch):
    cgroup = make_cgroup("w0", **LIMITS, root=version_2)
    assert cgroup is not None
    empty(cgroup.memory)
    real, calls = type(version_2).rmdir, []

    def busy(self):
        calls.append(self)
        if self == cgroup.memory and len(calls) < 4:
            raise OSError(errno.EBUSY, "Device or resource busy", str(self))
        real(self)

    monkeypatch.setattr(type(version_2), "rmdir", busy)
    cgroup.remove()
    assert len(calls) >= 4
    cgroup.memory.mkdir()
    calls.clear()
    monkeypatch.setattr(cgroup_module, "REMOVE_SECONDS", -1.0)
    with pytest.raises(SandboxError, match="could not be removed"):
        cgroup.remove()


def test_a_cgroup_that_is_not_empty_is_an_error_at_once(version_2):
    cgroup = make_cgroup("w0", **LIMITS, root=version_2)
    assert cgroup is not None
    with pytest.raises(SandboxError, match="could not be removed"):
        cgroup.remove()


def test_the_own_path_is_read_from_proc():
    path = cgroup_module._own_path("no such controller")
    assert path == ""
    assert not cgroup_module._own_path("memory").startswith("/")


def test_version_2_raises_the_weight_of_a_cgroup_and_its_parent(version_2):
    cgroup = make_cgroup("w0", **LIMITS, high_weight=True, root=version_2)
    folder = version_2 / HIGH_WEIGHT_PARENT / "w0"
    assert cgroup == Cgroup(version=2, memory=folder, pids=folder, cpu=folder, high_weight=folder)
    for heavy in (folder.parent, folder):
        assert (heavy / "cpu.weight").read_text() == "1600"
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert parents(version_2) == (version_2 / HIGH_WEIGHT_PARENT,)


@pytest.fixture(params=["one hierarchy", "two hierarchies"])
def version_1_with_weights(version_1, request):
    """CPU weights in the same hierarchy as the meter of CPU time, or in another one."""
    if request.param == "one hierarchy":
        (version_1 / "cpu").symlink_to(version_1 / "cpuacct")
    else:
        (version_1 / "cpu" / "mine").mkdir(parents=True)
    return version_1


def test_version_1_raises_the_weight_if_it_has_weights(version_1_with_weights):
    cgroup = make_cgroup("w0", **LIMITS, high_weight=True, root=version_1_with_weights)
    folder = version_1_with_weights / "cpu" / "mine" / HIGH_WEIGHT_PARENT / "w0"
    assert cgroup is not None
    assert cgroup.high_weight == folder
    assert cgroup.memory.parent.name == HIGH_WEIGHT_PARENT
    for heavy in (folder.parent, folder):
        assert (heavy / "cpu.shares").read_text() == str(16 * 1024)
    cgroup.enter(4711)
    assert (folder / "cgroup.procs").read_text() == "4711"
    for made in cgroup.folders:
        if made.exists():
            empty(made)
    cgroup.remove()
    empty(folder.parent)
    remove_parents(version_1_with_weights)
    assert parents(version_1_with_weights) == ()


def test_other_cgroups_have_the_default_weight(version_1_with_weights):
    cgroup = make_cgroup("w0", **LIMITS, root=version_1_with_weights)
    assert cgroup is not None
    assert cgroup.high_weight is None
    assert not list(version_1_with_weights.rglob("cpu.shares"))


@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_a_cgroup_without_weights_is_made_all_the_same(tree, request, monkeypatch):
    root = request.getfixturevalue(tree)
    if tree == "version_1":
        (root / "cpu" / "mine").mkdir(parents=True)
    written = type(root).write_text

    def write_text(self, text, *args, **kwargs):
        if "+cpu" in text or self.name == "cpu.shares":
            raise OSError(errno.EINVAL, "Invalid argument", str(self))
        return written(self, text, *args, **kwargs)

    monkeypatch.setattr(type(root), "write_text", write_text)
    cgroup = make_cgroup("w0", **LIMITS, high_weight=True, root=root)
    assert cgroup is not None
    assert cgroup.high_weight is None
    assert cgroup.memory.is_dir()
    assert not (root / "cpu" / "mine" / HIGH_WEIGHT_PARENT / "w0").exists()


def test_version_1_without_weights_at_all(version_1):
    cgroup = make_cgroup("w0", **LIMITS, high_weight=True, root=version_1)
    assert cgroup is not None
    assert cgroup.high_weight is None
