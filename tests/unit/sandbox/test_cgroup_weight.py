"""Groups that go before others, against a tree of plain files that looks like the kernel's."""

import errno

import pytest

from grader.sandbox.cgroup import HIGH_WEIGHT_PARENT, Cgroup, make_cgroup, parents, remove_parents
from tests.unit.sandbox.plain_files import LIMITS, empty


def test_version_2_goes_first_by_its_own_weight_and_its_parents(version_2):
    group = make_cgroup("w0", **LIMITS, high_weight=True, root=version_2)
    folder = version_2 / HIGH_WEIGHT_PARENT / "w0"
    assert group == Cgroup(version=2, memory=folder, pids=folder, cpu=folder, high_weight=folder)
    for heavy in (folder.parent, folder):
        assert (heavy / "cpu.weight").read_text() == "1600"
    assert (folder / "memory.max").read_text() == str(512 << 20)
    assert parents(version_2) == (version_2 / HIGH_WEIGHT_PARENT,)


@pytest.fixture(params=["one hierarchy", "two hierarchies"])
def weighing_version_1(version_1, request):
    """Processor weights beside the meter of processor time, or apart from it."""
    if request.param == "one hierarchy":
        (version_1 / "cpu").symlink_to(version_1 / "cpuacct")
    else:
        (version_1 / "cpu" / "mine").mkdir(parents=True)
    return version_1


def test_version_1_goes_first_where_it_has_weights(weighing_version_1):
    group = make_cgroup("w0", **LIMITS, high_weight=True, root=weighing_version_1)
    folder = weighing_version_1 / "cpu" / "mine" / HIGH_WEIGHT_PARENT / "w0"
    assert group is not None
    assert group.high_weight == folder
    assert group.memory.parent.name == HIGH_WEIGHT_PARENT
    for heavy in (folder.parent, folder):
        assert (heavy / "cpu.shares").read_text() == str(16 * 1024)
    group.enter(4711)
    assert (folder / "cgroup.procs").read_text() == "4711"
    for made in group.folders:
        if made.exists():
            empty(made)
    group.remove()
    empty(folder.parent)
    remove_parents(weighing_version_1)
    assert parents(weighing_version_1) == ()


def test_who_does_not_go_first_has_the_weight_of_everyone(weighing_version_1):
    group = make_cgroup("w0", **LIMITS, root=weighing_version_1)
    assert group is not None
    assert group.high_weight is None
    assert not list(weighing_version_1.rglob("cpu.shares"))


@pytest.mark.parametrize("tree", ["version_1", "version_2"])
def test_a_group_without_weights_is_one_all_the_same(tree, request, monkeypatch):
    root = request.getfixturevalue(tree)
    if tree == "version_1":
        (root / "cpu" / "mine").mkdir(parents=True)
    written = type(root).write_text

    def write_text(self, text, *args, **kwargs):
        if "+cpu" in text or self.name == "cpu.shares":
            raise OSError(errno.EINVAL, "Invalid argument", str(self))
        return written(self, text, *args, **kwargs)

    monkeypatch.setattr(type(root), "write_text", write_text)
    group = make_cgroup("w0", **LIMITS, high_weight=True, root=root)
    assert group is not None
    assert group.high_weight is None
    assert group.memory.is_dir()
    assert not (root / "cpu" / "mine" / HIGH_WEIGHT_PARENT / "w0").exists()


def test_version_1_without_weights_at_all(version_1):
    group = make_cgroup("w0", **LIMITS, high_weight=True, root=version_1)
    assert group is not None
    assert group.high_weight is None
