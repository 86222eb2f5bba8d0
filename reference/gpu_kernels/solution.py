"""The reference: the kernels of `kernels/`, which travel with this file.

Only `cross_entropy` is asked for in another form than `kernels/` has it. What is imported and not
used here is used by known submissions, which are appended to this file.
"""

# ruff: noqa: F401 - see above

import torch
import triton
import triton.language as tl

from kernels.checks import FLOATS, INTEGERS, check_like, check_shape, check_tensor, require
from kernels.cross_entropy import cross_entropy_into
from kernels.flash_attention import check_heads, flash_attention
from kernels.flash_attention_backward import flash_attention_backward
from kernels.layernorm import _check as _layernorm_check
from kernels.layernorm import layernorm, layernorm_backward
from kernels.matmul import matmul
from kernels.matrix_add import matrix_add
from kernels.rmsnorm import _check as _rmsnorm_check
from kernels.rmsnorm import rmsnorm, rmsnorm_backward
from kernels.softmax import softmax
from kernels.sums import column_sum


def cross_entropy(
    x_MV: torch.Tensor, target_M: torch.Tensor, *, ignore_index: int = -100
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the mean loss and its gradient, a new tensor: logits are a caller's, and stay."""
    check_tensor("x", x_MV, rank=2, dtypes=FLOATS)
    dx_MV = torch.empty(x_MV.shape, dtype=x_MV.dtype, device=x_MV.device)
    return cross_entropy_into(x_MV, target_M, dx_MV, ignore_index=ignore_index), dx_MV
