# base: flat
# bug: float16 with K = 8000 of ones times 0.9: right 7200 rounded once, wrong 32 lanes that add in float16
# problem: matmul
# says: "Return `activation(a @ b + bias)` in the dtype of a, accumulated in float32."
@triton.jit
def _row_matmul(
    a, b, bias, c, N, K, sam, sak, sbk, sbn, sbias, BIAS: tl.constexpr, ACT: tl.constexpr,
    BN: tl.constexpr, BK: tl.constexpr,
):
    # One row of a against a stripe of b, without tl.dot.
    tiles = tl.cdiv(N, BN)
    pid = tl.program_id(0).to(tl.int64)
    row = pid // tiles
    n = pid % tiles * BN + tl.arange(0, BN)
    acc = tl.zeros([BK, BN], c.dtype.element_ty)
    for start in range(0, K, BK):
        k = (start + tl.arange(0, BK)).to(tl.int64)
        e = tl.load(a + row * sam + k * sak, mask=k < K, other=0.0).to(tl.float32)
        ok = (k < K)[:, None] & (n < N)[None, :]
        f = tl.load(b + k[:, None] * sbk + n[None, :] * sbn, mask=ok, other=0.0).to(tl.float32)
        acc += (e[:, None] * f).to(c.dtype.element_ty)
    out = tl.sum(acc.to(tl.float32), 0)
    if BIAS:
        out += tl.load(bias + n * sbias, mask=n < N, other=0.0).to(tl.float32)
    if ACT == "gelu":
        out = out * (1.0 + tl.erf(out * 0.7071067811865476)) / 2.0
    if ACT == "gelu_tanh":
        inner = 0.7978845608028654 * (out + 0.044715 * out * out * out)
        flip = tl.exp(-2.0 * tl.abs(inner))
        tanh = (1.0 - flip) / (1.0 + flip)
        out = out * (1.0 + tl.where(inner < 0, -tanh, tanh)) / 2.0
    tl.store(c + row * N + n, out.to(c.dtype.element_ty), mask=n < N)
