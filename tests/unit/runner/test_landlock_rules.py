"""Which devices allow ioctl, and which files may be read; tried in a separate process."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("landlock", reason="Landlock is Linux's")

from grader.runner.landlock_rules import IOCTL_ABI, abi_version, beside

ROOT = Path(__file__).resolve().parents[3]
MASTER = Path("/dev/ptmx")

PROGRAM = """
import array, fcntl, os, sys, termios
sys.path.insert(0, sys.argv[1])
from runner.landlock_rules import restrict_files

lists = {"devices": [], "controlled": []}
lists[sys.argv[2]] = ["/dev/ptmx"]
restrict_files([sys.prefix], [], lists["devices"], lists["controlled"])
fd = os.open("/dev/ptmx", os.O_RDWR)
try:
    fcntl.ioctl(fd, termios.FIONREAD, array.array("i", [0]))
    fcntl.ioctl(fd, 0x80045430, array.array("I", [0]))  # TIOCGPTN of asm-generic/ioctls.h
    print("answered")
except PermissionError:
    print("refused")
"""


@pytest.mark.skipif(not MASTER.exists(), reason="no device to ask")
@pytest.mark.skipif(abi_version() < IOCTL_ABI, reason="this Linux does not restrict ioctl")
@pytest.mark.parametrize(("kind", "answer"), [("devices", "refused"), ("controlled", "answered")])
def test_only_a_controlled_device_answers(kind, answer):
    command = [sys.executable, "-I", "-c", PROGRAM, str(ROOT / "grader"), kind]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == answer


READING = """
import os, sys
sys.path.insert(0, sys.argv[1])
from runner.landlock_rules import restrict_files

top = sys.argv[2]
restrict_files([sys.prefix, top], [], [], [], hidden=[f"{top}/a/secret"])
def read(path):
    try:
        return open(os.path.join(top, path)).read()
    except PermissionError:
        return "refused"
print(*map(read, ["one", "a/two", "a/secret/three", "a/secret/below/four", "link/two"]))
print(*sorted(os.listdir(f"{top}/a")))
"""


@pytest.mark.skipif(not abi_version(), reason="this Linux has no Landlock")
def test_nothing_below_a_hidden_folder_can_be_read(tmp_path):
    (tmp_path / "a/secret/below").mkdir(parents=True)
    for path in ("one", "a/two", "a/secret/three", "a/secret/below/four"):
        (tmp_path / path).write_text(Path(path).name)
    (tmp_path / "link").symlink_to("a")
    (tmp_path / "loop").symlink_to(".")
    command = [sys.executable, "-I", "-c", READING, str(ROOT / "grader"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["one two refused refused two", "secret two"]


def test_a_folder_without_hidden_folders_is_allowed_as_a_whole(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    hidden = {str(tmp_path / "b")}
    assert beside(str(tmp_path / "a"), hidden) == [str(tmp_path / "a")]
    assert beside(str(tmp_path), hidden) == [str(tmp_path / "a")]
    assert beside(str(tmp_path / "b"), hidden) == []
