# base = "solution"
# caught_by = "cross_entropy.large_logits"
# cause = "wrong_value"
# also_fails = []

"""The log-sum-exp of the logits themselves: 10⁴ overflows."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _cross_entropy_kernel(
    x_MV, target_M, kept, loss_M, dx_MV, V, ignore_index, xm, xv, ts, dm, dv, BLOCK_N: tl.constexpr
):
    row, total = tl.program_id(0).to(tl.int64), 0.0
    target = tl.load(target_M + row * ts)
    here, count = target != ignore_index, tl.load(kept).to(tl.float32)
    label = tl.where(here, target, 0)
    for start in range(0, V, BLOCK_N):
        v = start + tl.arange(0, BLOCK_N)
        x = tl.load(x_MV + row * xm + v * xv, mask=v < V, other=-float("inf")).to(tl.float32)
        total += tl.sum(tl.exp(x))
    picked = tl.load(x_MV + row * xm + label * xv).to(tl.float32)
    tl.store(loss_M + row, tl.where(here, tl.log(total) - picked, 0.0))
    for start in range(0, V, BLOCK_N):
        v = start + tl.arange(0, BLOCK_N)
        x = tl.load(x_MV + row * xm + v * xv, mask=v < V, other=-float("inf")).to(tl.float32)
        slope = (tl.exp(x) / total - tl.where(v == label, 1.0, 0.0)) / count
        tl.store(dx_MV + row * dm + v * dv, tl.where(here, slope, 0.0), mask=v < V)
