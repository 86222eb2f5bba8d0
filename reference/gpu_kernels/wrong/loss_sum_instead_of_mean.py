# base = "solution"
# caught_by = "cross_entropy.vocabulary"
# cause = "wrong_value"
# also_fails = ["cross_entropy.ignored", "cross_entropy.large_logits", "cross_entropy.strides"]

"""Divides by nothing."""

# ruff: noqa: F821 - appended to solution.py


@triton.jit
def _count_kernel(target_M, kept, M, ignore_index, stride_t, BLOCK_M: tl.constexpr):
    tl.store(kept, 1)
