# base = "solution"
# caught_by = "flash_attention.output"
# cause = "wrong_value"
# also_fails = [
#   "flash_attention.causal",
#   "flash_attention.sees_nothing",
#   "flash_attention.grouped_heads",
#   "flash_attention.scores",
# ]

"""Rescales the sum when the maximum grows, and forgets the output."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _walk(
    acc, top, total, q, k_SD, v_SD, begin, end, S, offset, m, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd, CAUSAL: tl.constexpr, MASKED: tl.constexpr,
    BLOCK_N: tl.constexpr, D: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    for start in range(begin, end, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N).to(tl.int64)
        k = _tile(k_SD, n, S, stride_ks, stride_kd, False, D, BLOCK_D)
        seen = n[None, :] < S
        if CAUSAL:
            seen = seen & (n[None, :] <= m[:, None] + offset)
        s = tl.where(seen, tl.dot(q, tl.trans(k), input_precision="ieee"), -float("inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        shift = tl.where(new_top == -float("inf"), 0.0, new_top * scale2)
        p = tl.exp2(s * scale2 - shift[:, None])
        shrink = tl.exp2(top * scale2 - shift)
        total = total * shrink + tl.sum(p, axis=1)
        v = _tile(v_SD, n, S, stride_vs, stride_vd, False, D, BLOCK_D)
        acc = acc + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        top = new_top
    return acc, top, total
