# base = "solution"
# caught_by = "softmax.infinite"
# cause = "wrong_value"
# also_fails = []

"""A running maximum that is still −inf is subtracted: −inf − (−inf) is NaN, and stays."""

# ruff: noqa: F821 - appended to solution.py

_softmax_of_short_rows = softmax


@triton.jit
def _softmax_online(x_MN, out_MN, N, xm, xn, BLOCK: tl.constexpr):
    row, top, total = tl.program_id(0), -float("inf"), 0.0
    for start in range(0, N, BLOCK):
        n = start + tl.arange(0, BLOCK)
        x = tl.load(x_MN + row * xm + n * xn, mask=n < N, other=-float("inf")).to(tl.float32)
        above = tl.maximum(top, tl.max(x))
        total = total * tl.exp(top - above) + tl.sum(tl.exp(x - above))
        top = above
    for start in range(0, N, BLOCK):
        n = start + tl.arange(0, BLOCK)
        x = tl.load(x_MN + row * xm + n * xn, mask=n < N, other=-float("inf")).to(tl.float32)
        tl.store(out_MN + row * N + n, tl.exp(x - top) / total, mask=n < N)


def softmax(x_MN):
    if x_MN.dim() != 2 or x_MN.shape[1] <= 4096:
        return _softmax_of_short_rows(x_MN)
    (M, N), out = x_MN.shape, torch.empty(x_MN.shape, dtype=x_MN.dtype)
    _softmax_online[(M,)](x_MN, out, N, *x_MN.stride(), BLOCK=4096)
    return out
