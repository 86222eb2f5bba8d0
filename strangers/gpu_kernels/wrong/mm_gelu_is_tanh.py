# base: whole_row
# bug: activation 'gelu' at x = 2: right 1.954500, wrong 1.954598, the tanh form
# problem: matmul
# says: ""gelu", x · Φ(x) with Φ(x) = (1 + erf(x/√2)) / 2; or "gelu_tanh""
@triton.jit
def _epilogue(acc, ACT: tl.constexpr):
    if ACT == "gelu":
        acc = acc * tl.sigmoid(1.5957691216057308 * acc * (1.0 + 0.044715 * acc * acc))
    elif ACT == "gelu_tanh":
        acc = acc * tl.sigmoid(1.5957691216057308 * acc * (1.0 + 0.044715 * acc * acc))
    return acc
