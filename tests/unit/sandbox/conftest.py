"""Trees of plain files that look like Linux's cgroups."""

import pytest

from grader.sandbox import cgroup as cgroup_module


@pytest.fixture
def version_2(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("cpuset cpu io memory pids\n")
    return tmp_path


@pytest.fixture
def version_1(tmp_path, monkeypatch):
    for controller in ("memory", "pids", "cpuacct"):
        (tmp_path / controller / "mine").mkdir(parents=True)
    monkeypatch.setattr(cgroup_module, "_own_path", lambda controller: "mine")
    return tmp_path
