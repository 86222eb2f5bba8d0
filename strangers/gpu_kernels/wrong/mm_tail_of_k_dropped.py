# base: transposed
# bug: K = 65 (a block of 64 and one more): right a sum over 65, wrong over 64; K below 64 is right
# problem: matmul
# says: "Return `activation(a @ b + bias)` in the dtype of a, accumulated in float32."
@triton.jit
def _matmul_t(
    a, b, bias, c, M, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, GELU: tl.constexpr,
    TANH: tl.constexpr, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr,
):
    pid = tl.program_id(0).to(tl.int64)
    down = tl.cdiv(M, BM)
    i = pid % down * BM + tl.arange(0, BM)
    j = pid // down * BN + tl.arange(0, BN)
    acc = tl.zeros([BN, BM], tl.float32)
    full = K // BK * BK
    lane = tl.arange(0, BK).to(tl.int64)
    for start in range(0, full, BK):
        left = _get(b, j, start + lane, N, K, sbn, sbk, 0.0)
        acc += tl.dot(left, _get(a, start + lane, i, K, M, sak, sam, 0.0), input_precision="ieee")
    if full == 0:
        left = _get(b, j, full + lane, N, K, sbn, sbk, 0.0)
        acc += tl.dot(left, _get(a, full + lane, i, K, M, sak, sam, 0.0), input_precision="ieee")
    if BIAS:
        acc += tl.load(bias + j * sbias, mask=j < N, other=0.0).to(tl.float32)[:, None]
    if GELU:
        if TANH:
            acc = acc * tl.sigmoid(1.5957691216057308 * (acc + 0.044715 * acc * acc * acc))
        else:
            acc = acc * _normal(acc)
    _put(c, j, i, N, M, 1, N, acc)
