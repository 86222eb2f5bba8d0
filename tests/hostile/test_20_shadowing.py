"""Attack 20: shadow or poison what the next import finds.

The interpreter is isolated, its packages are read-only, and a child's home is removed with it."""

from tests.hostile.conftest import Attack
from tests.hostile.honest import HONEST

POISON = """
import os, sys, site
written = []
for folder in [os.path.dirname(torch.__file__), os.path.dirname(os.__file__), "/dev/shm", "/tmp",
               "/sandbox/runner", "/usr/lib", sys.prefix]:
    for name in ("sitecustomize.py", "poison.pth", "replay"):
        try:
            with open(os.path.join(folder, name), "w") as f:
                f.write("import os")
            written.append(folder)
        except OSError:
            pass
print("written", written)
with open("left-behind", "w") as f:
    f.write("a note for the next submission")
"""

LOOK = """
import os
print(sorted(name for name in os.listdir(".") if not name.startswith("__")))
"""


def test_nothing_outside_the_home_can_be_written(attack: Attack) -> None:
    result = attack(HONEST + POISON)
    assert result.measurement.problems[0].output.splitlines() == ["written []"]


def test_the_next_child_finds_an_empty_home(attack: Attack) -> None:
    attack(HONEST + POISON)
    result = attack(HONEST + LOOK)
    assert result.measurement.problems[0].output.splitlines() == ["['submission.py']"]
