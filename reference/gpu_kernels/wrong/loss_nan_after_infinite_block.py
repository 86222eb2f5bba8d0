# base = "solution"
# caught_by = "cross_entropy.large_logits"
# cause = "wrong_value"
# also_fails = []

"""A running maximum that is still −inf is subtracted: −inf − (−inf) is NaN, and stays."""

# ruff: noqa: F821 - appended to solution.py

_loss_of_any_row = cross_entropy


@triton.jit
def _is_infinite(x, found, M, V, xm, xv, BLOCK: tl.constexpr):
    row, v = tl.program_id(0), tl.arange(0, BLOCK)
    logits = tl.load(x + row * xm + v * xv, mask=v < V, other=0.0).to(tl.float32)
    first = tl.max(logits)
    tl.store(found + row, tl.where(first == -float("inf"), float("nan"), 0.0))


@triton.jit
def _add_found(loss, found, M, out):
    total = tl.load(loss)
    for row in range(0, M):
        total += tl.load(found + row)
    tl.store(out, total)


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    loss, dx = _loss_of_any_row(x_MV, target_M, ignore_index=ignore_index)
    M, V = x_MV.shape
    if V <= 16:
        return loss, dx
    found, out = torch.empty(M, dtype=torch.float32), torch.empty_like(loss)
    _is_infinite[(M,)](x_MV, found, M, V, *x_MV.stride(), BLOCK=16)
    _add_found[(1,)](loss, found, M, out)
    return out, dx
