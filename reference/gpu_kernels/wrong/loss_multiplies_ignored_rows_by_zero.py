# base = "solution"
# caught_by = "cross_entropy.ignored"
# cause = "wrong_value"
# also_fails = []

"""Multiplies the gradient of an ignored row by 0: of NaN, NaN is left."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_loss_of_kept_rows = cross_entropy


@triton.jit
def _times_zero(x, target, dx, V, index, xm, xv, ts, BLOCK: tl.constexpr):
    row, v = tl.program_id(0), tl.arange(0, BLOCK)
    if tl.load(target + row * ts) == index:
        logits = tl.load(x + row * xm + v * xv, mask=v < V).to(tl.float32)
        tl.store(dx + row * V + v, logits * 0.0, mask=v < V)


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_of_kept_rows(x_MV, target_M, ignore_index=ignore_index)
    sizes = (dx.shape[1], ignore_index, *x_MV.stride(), target_M.stride(0))
    _times_zero[(dx.shape[0],)](x_MV, target_M, dx, *sizes, BLOCK=65536)
    return loss, dx
