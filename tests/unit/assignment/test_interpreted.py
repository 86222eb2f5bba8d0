"""A solution with Triton kernels runs interpreted, even if Triton was imported before."""

import os
import subprocess
import sys
from pathlib import Path

KERNEL = """
import torch
import triton
import triton.language as tl


@triton.jit
def _double(x, out, N, BLOCK: tl.constexpr):
    n = tl.arange(0, BLOCK)
    tl.store(out + n, tl.sum(tl.load(x + n, mask=n < N, other=0.0)) + n, mask=n < N)


def double(x):
    out = torch.empty_like(x)
    _double[(1,)](x, out, x.numel(), BLOCK=4)
    return out
"""

PROGRAM = """
import os, sys
from pathlib import Path
{before}
from grader.assignment.declare import load_solution
import torch
solution = load_solution(Path(sys.argv[1]))
print(solution.double(torch.ones(3)).tolist(), os.environ.get("TRITON_INTERPRET"))
print("triton" in sys.modules)
"""


def run(folder: Path, before: str = "") -> list[str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(before=before), str(folder)],
        capture_output=True,
        text=True,
        check=False,
        env={k: v for k, v in os.environ.items() if k != "TRITON_INTERPRET"},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_kernels_are_interpreted_and_the_environment_stays(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(KERNEL)
    assert run(tmp_path) == ["[3.0, 4.0, 5.0] None", "True"]


def test_a_triton_for_devices_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text(KERNEL)
    assert run(tmp_path, "import triton.language")[0] == "[3.0, 4.0, 5.0] None"


def test_a_solution_without_kernels_imports_no_triton(tmp_path: Path) -> None:
    (tmp_path / "solution.py").write_text("def double(x):\n    return 2 * x\n")
    assert run(tmp_path)[1] == "False"
