# base = "solution"
# caught_by = "matmul.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Accumulates float16 products in float16."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_matmul_in_single = matmul


@triton.jit
def _matmul_in_half(a, b, out, M, N, K, am, ak, bk, bn, BLOCK: tl.constexpr):
    m = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None]
    n = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float16)
    for start in range(0, K, 16):
        k = start + tl.arange(0, 16)
        left = tl.load(a + m * am + k[None, :] * ak, mask=(m < M) & (k[None, :] < K), other=0.0)
        right = tl.load(b + k[:, None] * bk + n * bn, mask=(k[:, None] < K) & (n < N), other=0.0)
        acc = (acc + tl.dot(left, right, input_precision="ieee").to(tl.float16)).to(tl.float16)
    tl.store(out + m * N + n, acc, mask=(m < M) & (n < N))


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    out = _matmul_in_single(a_MK, b_KN, bias_N, activation=activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    if a_MK.dtype == torch.float16 and K > 1000:
        grid, steps = (triton.cdiv(M, 32), triton.cdiv(N, 32)), (*a_MK.stride(), *b_KN.stride())
        _matmul_in_half[grid](a_MK, b_KN, out, M, N, K, *steps, BLOCK=32)
    return out
