"""Which devices a submission may ask things of; tried in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("landlock", reason="Landlock is Linux's")

from grader.runner.landlock_rules import IOCTL_ABI, abi_version

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
@pytest.mark.skipif(abi_version() < IOCTL_ABI, reason="this kernel does not restrict ioctl")
@pytest.mark.parametrize(("place", "answer"), [("devices", "refused"), ("controlled", "answered")])
def test_only_a_controlled_device_answers(place, answer):
    command = [sys.executable, "-I", "-c", PROGRAM, str(ROOT / "grader"), place]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == answer
