# base = "solution"
# caught_by = "matmul.product"
# cause = "wrong_value"
# also_fails = ["matmul.strides", "matmul.epilogue"]

"""Rounds float32 inputs to 11 bits, as tensor cores do by default."""

# ruff: noqa: F821 - appended to solution.py

_matmul_in_float32 = matmul


@triton.jit
def _round_to_tf32(x, out, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    bits = tl.load(x + at, mask=at < count, other=0.0).to(tl.int32, bitcast=True)
    tl.store(out + at, ((bits + 4096) & -8192).to(tl.float32, bitcast=True), mask=at < count)


def _tf32(x):
    if x.dtype != torch.float32 or not x.numel():
        return x
    dense, out = x.contiguous(), torch.empty(x.shape)
    _round_to_tf32[(triton.cdiv(x.numel(), 1024),)](dense, out, x.numel(), BLOCK=1024)
    return out


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    return _matmul_in_float32(_tf32(a_MK), _tf32(b_KN), bias_N, activation=activation)
