"""Attack 7: look for the expected value, the seed, the oracle or the reference inside the sandbox.

They are not there: not in files, not in memory, not in callers' frames, not in `/proc`.
"""

from collections.abc import Callable

from tests.hostile.conftest import SANDBOXES, SEED, TARGET  # noqa: F401 - SANDBOXES documents the matrix

MARKER = "oracle-of-the-target" + "-7f3a"  # split, so that this text is not its own finding

PATHS = [
    str(TARGET),
    str(TARGET / "reference" / "target" / "oracle.py"),
    *("/root", "/srv", "/home", "/tmp", "/var", "/run", "/sandbox/channel", "/sys/fs/cgroup"),
    *("/etc/shadow", "/etc/passwd", "/proc", "/proc/1/environ", "/proc/self/environ"),
]

READ_FILES = f"""
import os
for path in {PATHS!r}:
    try:
        found = os.listdir(path) if os.path.isdir(path) else open(path).read()
        print("READ", path, found)
    except OSError as error:
        print("refused", path, type(error).__name__)
"""

SEARCH_MEMORY = f"""
import gc, sys
needles = ({SEED!r}[::-1], {MARKER!r}[::-1])
hits = 0
for thing in gc.get_objects():
    if type(thing) is dict:
        for value in list(thing.values()):
            if type(value) is str and value[::-1] in needles:
                hits += 1
frame = sys._getframe()
frames = []
while frame is not None:
    frames.append(frame.f_code.co_filename)
    frame = frame.f_back
print("hits", hits)
judge = ("correctness", "performance", "judge", "assignment", "validate")
print("judge frames", sum(1 for f in frames if any(name in f for name in judge)))
print("judge modules", sorted(m for m in sys.modules if m.startswith("grader") or "oracle" in m))
"""

WRITE_PROC = """
import os
for path in ("/proc/self/clear_refs", "/proc/self/oom_score_adj", "/proc/sys/kernel/core_pattern",
             "/proc/sysrq-trigger", "/sys/kernel/mm/ksm/run"):
    try:
        fd = os.open(path, os.O_WRONLY)
        print("OPENED", path)
    except OSError as error:
        print("refused", path, type(error).__name__)
"""


def test_no_file_of_the_judge_can_be_read(spy: Callable[[str], list[str]]) -> None:
    lines = spy(READ_FILES)
    assert len(lines) == len(PATHS)
    assert [line for line in lines if not line.startswith("refused")] == []


def test_neither_seed_nor_oracle_is_in_memory(spy: Callable[[str], list[str]]) -> None:
    assert spy(SEARCH_MEMORY) == ["hits 0", "judge frames 0", "judge modules []"]


def test_proc_and_sys_cannot_be_written(spy: Callable[[str], list[str]]) -> None:
    lines = spy(WRITE_PROC)
    assert len(lines) == 5
    assert [line for line in lines if not line.startswith("refused")] == []
