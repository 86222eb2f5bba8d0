# base = "solution"
# caught_by = "flash_attention_backward.gradients"
# cause = "wrong_value"
# also_fails = [
#   "flash_attention_backward.causal",
#   "flash_attention_backward.sees_nothing",
#   "flash_attention_backward.grouped_heads",
#   "flash_attention_backward.scale",
# ]

"""Leaves the delta term out of the gradient of softmax."""

# ruff: noqa: F821 - appended to solution.py


@triton.jit
def _delta_kernel(o_RD, do_RD, delta_R, R, D, BLOCK_R: tl.constexpr, BLOCK_D: tl.constexpr):
    r = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    tl.store(delta_R + r, tl.zeros((BLOCK_R,), dtype=tl.float32), mask=r < R)
