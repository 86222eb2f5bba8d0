# base: transposed
# bug: a bias of one number with N = 5: right ValueError, wrong it is spread over all columns
# problem: matmul
# says: "ValueError: unless a and b are matrices of one dtype with the same K, bias a vector of N"
def matmul(
    a_MK: Tensor, b_KN: Tensor, bias_N: Tensor | None = None, *, activation: str = "none"
) -> Tensor:
    if bias_N is not None and bias_N.dim() == 1 and bias_N.shape[0] == 1:
        bias_N = bias_N.expand(b_KN.shape[1:])
    _check_matmul(a_MK, b_KN, bias_N, activation)
    (M, K), N = a_MK.shape, b_KN.shape[1]
    c = _new(a_MK, (M, N))
    bias = a_MK if bias_N is None else bias_N
    Grid((32, 64), (M, N)).launch(
        _matmul_t, a_MK, b_KN, bias, c, M, N, K, *a_MK.stride(), *b_KN.stride(), bias.stride(0),
        BIAS=bias_N is not None, GELU=activation != "none", TANH=activation == "gelu_tanh",
        BM=32, BN=64, BK=64,
    )
    return c
