# base: per_head
# bug: float16, product 2049 and bias -2048: right 1, wrong 0, because the product is rounded to 2048 before the bias
# problem: matmul
# says: "Bias and GELU act on the float32 accumulator, before the one rounding."
@triton.jit
def _bias_and_gelu(acc, bias, c, rows, N, sbias, BIAS: tl.constexpr, ACT: tl.constexpr, BN: tl.constexpr):
    i = tl.program_id(0).to(tl.int64)
    for start in range(0, N, BN):
        j = (start + tl.arange(0, BN)).to(tl.int64)
        x = tl.load(acc + i * N + j, mask=j < N, other=0.0).to(c.dtype.element_ty).to(tl.float32)
        if BIAS:
            x += tl.load(bias + j * sbias, mask=j < N, other=0.0).to(tl.float32)
        if ACT == "gelu":
            x *= 0.5 * (1.0 + tl.erf(x * 0.7071067811865476))
        if ACT == "gelu_tanh":
            x *= tl.sigmoid(2.0 * 0.7978845608028654 * (x + 0.044715 * x * x * x))
        tl.store(c + i * N + j, x.to(c.dtype.element_ty), mask=j < N)
