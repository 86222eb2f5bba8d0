# base: split
# bug: float16 with K = 2000, four splits: right sums added in float32, wrong each part is rounded to float16 first
# problem: matmul
# says: "Return `activation(a @ b + bias)` in the dtype of a, accumulated in float32."
def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if M == 0 or N == 0:
        return c
    splits = max(1, min(4, K // 64))
    chunk = triton.cdiv(triton.cdiv(K, splits), 32) * 32
    parts = _new(c, (splits, M, N))
    _matmul_part[(triton.cdiv(M, 32) * triton.cdiv(N, 32), splits)](
        a_MK, b_KN, parts, M, N, K, chunk, *a_MK.stride(), *b_KN.stride(), BM=32, BN=32, BK=32
    )
    bias = c if bias_N is None else bias_N
    _finish[(triton.cdiv(M * N, 512),)](
        parts, bias, c, M * N, N, splits, bias.stride(-1), BIAS=bias_N is not None,
        ACT=("none", "gelu", "gelu_tanh").index(activation), BLOCK=512,
    )
    return c
