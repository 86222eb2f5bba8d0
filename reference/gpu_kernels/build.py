"""Writes `solution.py` out of the kernels in `kernels/`, so that both are the same code.

Takes: the files of `kernels/` that the problems need. Gives: one module without relative imports,
which can enter a box alone. Does not cover: right or wrong (see `cases.py`); speed.

    python -m reference.gpu_kernels.build

writes it anew; a test compares.
"""

from pathlib import Path

from reference.one_file import formatted, joined, kernels

HERE = Path(__file__).resolve().parent

SHARED = ("checks", "launch", "sums")
OPERATIONS = (
    "matrix_add",
    "softmax",
    "rmsnorm",
    "layernorm",
    "cross_entropy",
    "matmul",
    "flash_attention",
    "flash_attention_backward",
)
OTHERWISE = ("check_targets", "cross_entropy")
"""What is left out, because the assignment asks for it in another form."""

HEAD = '''"""The reference: the kernels of `kernels/` in one file. `build.py` makes it."""

# ruff: noqa: PLR0913 - a kernel has a parameter for each stride of each tensor

from collections.abc import Mapping

import torch
import triton
import triton.language as tl
'''

TAIL = '''
def cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss and its gradient, a new tensor: logits are a caller's, and stay."""
    check_tensor("x", x_MV, rank=2, dtypes=FLOATS)
    dx_MV = torch.empty(x_MV.shape, dtype=x_MV.dtype, device=x_MV.device)
    return cross_entropy_into(x_MV, target_M, dx_MV, ignore_index=ignore_index), dx_MV
'''
"""What the assignment asks for in another form than the kernel has it."""


def build() -> str:
    """Return the text of `solution.py`."""
    pieces = kernels((*SHARED, *OPERATIONS), without=OTHERWISE)
    return formatted(f"{HEAD}\n{joined(pieces)}\n\n{TAIL}")


if __name__ == "__main__":
    (HERE / "solution.py").write_text(build(), encoding="utf-8", newline="\n")
