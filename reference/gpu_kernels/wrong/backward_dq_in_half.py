# base = "solution"
# caught_by = "flash_attention_backward.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Rounds the sum of dq to float16 after each tile of keys."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _walk_keys(
    dq, q, do, lse2, delta, m, k_SD, v_SD, begin, end, S, offset, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    for first in range(begin, end, BLOCK_N):
        n = first + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, not MASKED, D, BLOCK_D)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, not MASKED, D, BLOCK_D)
        seen = n[None, :] < S
        if CAUSAL:
            seen = seen & (n[None, :] <= m[:, None] + offset)
        _, ds = _slopes(q, k, do, v, lse2[:, None], delta[:, None], seen, scale2, MASKED)
        dq = tl.dot(ds.to(k.dtype), k, dq, input_precision="ieee")
        dq = dq.to(k.dtype).to(tl.float32)
    return dq
