# base = "solution"
# caught_by = "flash_attention_backward.sees_nothing"
# cause = "wrong_value"
# also_fails = []

"""Subtracts a log-sum-exp of −inf: queries that saw nothing turn gradients into NaN."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _slopes(x, y, z, u, lse2, delta, seen, scale2, MASKED: tl.constexpr):
    s = tl.dot(x, tl.trans(y), input_precision="ieee") * scale2
    if MASKED:
        s = tl.where(seen, s, -float("inf"))
    p = tl.exp2(s - lse2)
    return p, p * (tl.dot(z, tl.trans(u), input_precision="ieee") - delta)
