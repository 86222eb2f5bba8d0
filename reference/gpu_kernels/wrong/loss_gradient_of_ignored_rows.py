# base = "solution"
# caught_by = "cross_entropy.ignored"
# cause = "wrong_value"
# also_fails = []

"""An ignored row has a gradient, though no share in the loss."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_kept_rows = cross_entropy


@triton.jit
def _ones(target, dx, V, index, ts, BLOCK: tl.constexpr):
    row, v = tl.program_id(0), tl.arange(0, BLOCK)
    if tl.load(target + row * ts) == index:
        tl.store(dx + row * V + v, tl.full((BLOCK,), 1.0, tl.float32) / V, mask=v < V)


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_of_kept_rows(x_MV, target_M, ignore_index=ignore_index)
    sizes = (dx.shape[1], ignore_index, target_M.stride(0))
    _ones[(dx.shape[0],)](target_M, dx, *sizes, BLOCK=65536)
    return loss, dx
