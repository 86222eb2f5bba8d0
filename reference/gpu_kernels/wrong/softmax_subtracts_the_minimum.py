# base = "solution"
# caught_by = "softmax.large_logits"
# cause = "wrong_value"
# also_fails = []

"""The smallest logit is subtracted, which serves until a row holds 10⁴ and −10⁴."""

# ruff: noqa: F821 - appended to solution.py


@triton.jit
def _softmax_kernel(x_MN, out_MN, N, xm, xn, om, BLOCK_N: tl.constexpr, ONE_BLOCK: tl.constexpr):
    row, n = tl.program_id(0), tl.arange(0, BLOCK_N)
    x = tl.load(x_MN + row * xm + n * xn, mask=n < N, other=-float("inf")).to(tl.float32)
    lowest = tl.min(tl.where(x == -float("inf"), float("inf"), x))
    weights = tl.exp(x - lowest)
    tl.store(out_MN + row * om + n, weights / tl.sum(weights), mask=n < N)


def softmax(x_MN):
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    (M, N), out = x_MN.shape, torch.zeros(x_MN.shape, dtype=x_MN.dtype)
    require(N > 0, "no columns")
    block = max(2, triton.next_power_of_2(N))
    steps = (*x_MN.stride(), N)
    _softmax_kernel[(M,)](x_MN, out, N, *steps, BLOCK_N=block, ONE_BLOCK=True)
    return out
