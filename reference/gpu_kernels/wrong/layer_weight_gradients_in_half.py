# base = "solution"
# caught_by = "layernorm.weight_gradients"
# cause = "wrong_value"
# also_fails = []

"""Adds dw and db up in float16 where the weight is float16."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_layer_backward_in_single = layernorm_backward


@triton.jit
def _dwb_in_half(dy, x, means, rstds, dw_H, db_H, M, H, dm, dh, xm, xh, BLOCK: tl.constexpr):
    h = tl.arange(0, BLOCK)
    dw = tl.zeros((BLOCK,), dtype=tl.float16)
    db = tl.zeros((BLOCK,), dtype=tl.float16)
    for m in range(0, M):
        slope = tl.load(dy + m * dm + h * dh, mask=h < H, other=0.0)
        normal = tl.load(x + m * xm + h * xh, mask=h < H, other=0.0).to(tl.float32)
        normal = (normal - tl.load(means + m)) * tl.load(rstds + m)
        dw = (dw + (slope * normal).to(tl.float16)).to(tl.float16)
        db = (db + slope).to(tl.float16)
    tl.store(dw_H + h, dw, mask=h < H)
    tl.store(db_H + h, db, mask=h < H)


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    found = _layer_backward_in_single(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
    if w_H.dtype == torch.float16:
        sizes = (*x_MH.shape, *dy_MH.stride(), *x_MH.stride())
        _dwb_in_half[(1,)](dy_MH, x_MH, mean_M, rstd_M, *found[1:], *sizes, BLOCK=8192)
    return found
