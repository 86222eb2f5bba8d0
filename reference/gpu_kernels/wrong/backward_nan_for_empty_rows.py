# base = "solution"
# caught_by = "flash_attention_backward.sees_nothing"
# cause = "wrong_value"
# also_fails = []

"""Subtracts a log-sum-exp of −inf: queries that saw nothing turn gradients into NaN."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _slopes(
    q, k, v, do, lse_T, delta_T, first_m, first_n, T, S, scale,
    CAUSAL: tl.constexpr, BLOCK_M: tl.constexpr, BLOCK_N: tl.constexpr,
):  # fmt: skip
    m, n = first_m + tl.arange(0, BLOCK_M), first_n + tl.arange(0, BLOCK_N)
    lse = tl.load(lse_T + m, mask=m < T, other=0.0)
    delta = tl.load(delta_T + m, mask=m < T, other=0.0)
    seen = (m[:, None] < T) & (n[None, :] < S)
    if CAUSAL:
        seen = seen & (n[None, :] <= m[:, None] + (S - T))
    s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale
    p = tl.exp(tl.where(seen, s, -float("inf")) - lse[:, None])
    dp = tl.dot(do, tl.trans(v), input_precision="ieee")
    return p, p * (dp - delta[:, None])
