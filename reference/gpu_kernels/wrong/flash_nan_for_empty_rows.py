# base = "solution"
# caught_by = "flash_attention.sees_nothing"
# cause = "wrong_value"
# also_fails = []

"""Subtracts a maximum of −inf: queries that see nothing become NaN."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _walk(
    acc, top, total, q, k_SD, v_SD, begin, end, S, D, offset, m, scale2,
    stride_ks, stride_kd, stride_vs, stride_vd,
    CAUSAL: tl.constexpr, MASKED: tl.constexpr, BLOCK_N: tl.constexpr, BLOCK_D: tl.constexpr,
):  # fmt: skip
    d = tl.arange(0, BLOCK_D)
    for start in range(begin, end, BLOCK_N):
        n = start + tl.arange(0, BLOCK_N)
        inside = (n[:, None] < S) & (d[None, :] < D)
        k = tl.load(k_SD + n[:, None] * stride_ks + d[None, :] * stride_kd, mask=inside, other=0.0)
        s = tl.dot(q, tl.trans(k), input_precision="ieee") * scale2
        seen = n[None, :] < S
        if CAUSAL:
            seen = seen & (n[None, :] <= m[:, None] + offset)
        s = tl.where(seen, s, -float("inf"))
        new_top = tl.maximum(top, tl.max(s, axis=1))
        shift = new_top
        p = tl.exp2(s - shift[:, None])
        shrink = tl.exp2(top - shift)
        total = total * shrink + tl.sum(p, axis=1)
        v = tl.load(v_SD + n[:, None] * stride_vs + d[None, :] * stride_vd, mask=inside, other=0.0)
        acc = acc * shrink[:, None] + tl.dot(p.to(v.dtype), v, input_precision="ieee")
        top = new_top
    return acc, top, total
