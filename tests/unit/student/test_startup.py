"""A student's commands start without torch, whose import takes seconds."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    "module", ["listing", "init", "check", "pack", "release", "new_assignment"]
)
def test_a_command_is_imported_without_torch(module):
    program = f"import sys, grader.commands.{module}; print('torch' in sys.modules)"
    ran = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "False"
