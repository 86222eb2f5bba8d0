# base = "solution"
# caught_by = "matmul.product"
# cause = "wrong_value"
# also_fails = []

"""No mask behind the end of K: what is read there is added.

Here that is the last row and column again: what really lies there could end the process instead.
"""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_matmul_masked = matmul


@triton.jit
def _matmul_unmasked(a, b, out, M, N, K, am, ak, bk, bn, BLOCK: tl.constexpr):
    m = (tl.program_id(0) * BLOCK + tl.arange(0, BLOCK))[:, None]
    n = (tl.program_id(1) * BLOCK + tl.arange(0, BLOCK))[None, :]
    acc = tl.zeros((BLOCK, BLOCK), dtype=tl.float32)
    for start in range(0, K, 16):
        k = start + tl.arange(0, 16)
        k = tl.minimum(k, K - 1)
        left = tl.load(a + m * am + k[None, :] * ak, mask=m < M, other=0.0)
        right = tl.load(b + k[:, None] * bk + n * bn, mask=n < N, other=0.0)
        acc += tl.dot(left, right, input_precision="ieee")
    tl.store(out + m * N + n, acc, mask=(m < M) & (n < N))


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    out = _matmul_masked(a_MK, b_KN, bias_N, activation=activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    if bias_N is None and activation == "none" and K % 16:
        grid, steps = (triton.cdiv(M, 32), triton.cdiv(N, 32)), (*a_MK.stride(), *b_KN.stride())
        _matmul_unmasked[grid](a_MK, b_KN, out, M, N, K, *steps, BLOCK=32)
    return out
