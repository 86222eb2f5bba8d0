# base = "solution"
# caught_by = "softmax.combinations"
# cause = "wrong_value"
# also_fails = []

"""Subtracts the maximum of the first block from a row of several: far larger ones overflow."""

# ruff: noqa: F821 - appended to solution.py

_softmax_in_blocks = softmax


@triton.jit
def _softmax_of_first(x, out, N, xm, xn, BLOCK: tl.constexpr):
    row, lanes = tl.program_id(0).to(tl.int64), tl.arange(0, BLOCK)
    first = tl.load(x + row * xm + lanes * xn, mask=lanes < N, other=-float("inf"))
    top = tl.max(first.to(tl.float32))
    top = tl.where(top == -float("inf"), 0.0, top)
    total = 0.0
    for start in range(0, N, BLOCK):
        n = start + lanes
        part = tl.load(x + row * xm + n * xn, mask=n < N, other=-float("inf")).to(tl.float32)
        total += tl.sum(tl.exp(part - top))
    for start in range(0, N, BLOCK):
        n = start + lanes
        part = tl.load(x + row * xm + n * xn, mask=n < N, other=-float("inf")).to(tl.float32)
        tl.store(out + row * N + n, tl.exp(part - top) / total, mask=n < N)


def softmax(x_MN):
    out = _softmax_in_blocks(x_MN)
    M, N = x_MN.shape
    if M and 1024 < N < 20000:
        _softmax_of_first[(M,)](x_MN, out, N, *x_MN.stride(), BLOCK=1024)
    return out
