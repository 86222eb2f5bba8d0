# base = "solution"
# caught_by = "cross_entropy.ignored"
# cause = "wrong_value"
# also_fails = []

"""Divides by at least one row: 0 instead of NaN where none is kept."""

# ruff: noqa: F821 - appended to solution.py


@triton.jit
def _mean_kernel(loss_M, kept, mean, M, BLOCK_M: tl.constexpr):
    total = tl.zeros((BLOCK_M,), dtype=tl.float32)
    for start in range(0, M, BLOCK_M):
        m = start + tl.arange(0, BLOCK_M)
        total += tl.load(loss_M + m, mask=m < M, other=0.0)
    tl.store(mean, tl.sum(total) / tl.maximum(tl.load(kept), 1).to(tl.float32))
