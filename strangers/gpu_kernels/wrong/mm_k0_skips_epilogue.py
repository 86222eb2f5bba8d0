# base: plain
# bug: K = 0 with a bias of ones: right activation(0 + bias), wrong 0
# problem: matmul
# says: "M, N or K may be 0; with K = 0 the product is 0."
def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    if K == 0:
        return _zeros(a_MK, (M, N))
    if M and N:
        bias = a_MK if bias_N is None else bias_N
        grid = (triton.cdiv(M, 64) * triton.cdiv(N, 64),)
        _matmul_kernel[grid](
            a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
            BIAS=bias_N is not None, ACT=activation, BM=64, BN=64, BK=32,
        )
    return c
