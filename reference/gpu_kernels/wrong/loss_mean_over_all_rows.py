# base = "solution"
# caught_by = "cross_entropy.ignored"
# cause = "wrong_value"
# also_fails = []

"""Divides by all rows, the ignored ones included."""

# ruff: noqa: F821 - appended to solution.py


@triton.jit
def _count_kernel(target_M, kept, M, ignore_index, stride_t, BLOCK_M: tl.constexpr):
    tl.store(kept, M)
