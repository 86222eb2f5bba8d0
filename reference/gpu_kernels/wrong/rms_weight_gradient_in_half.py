# base = "solution"
# caught_by = "rmsnorm.weight_gradient"
# cause = "wrong_value"
# also_fails = []

"""Adds dw up in float16 where the weight is float16."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_rms_backward_in_single = rmsnorm_backward


@triton.jit
def _dw_in_half(dy, x, rstds, dw_H, M, H, dm, dh, xm, xh, BLOCK: tl.constexpr):
    h = tl.arange(0, BLOCK)
    dw = tl.zeros((BLOCK,), dtype=tl.float16)
    for m in range(0, M):
        slope = tl.load(dy + m * dm + h * dh, mask=h < H, other=0.0)
        normal = tl.load(x + m * xm + h * xh, mask=h < H, other=0.0).to(tl.float32)
        normal = normal * tl.load(rstds + m)
        dw = (dw + (slope * normal).to(tl.float16)).to(tl.float16)
    tl.store(dw_H + h, dw, mask=h < H)


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_backward_in_single(dy_MH, x_MH, w_H, rstd_M)
    if w_H.dtype == torch.float16:
        sizes = (*x_MH.shape, *dy_MH.stride(), *x_MH.stride())
        _dw_in_half[(1,)](dy_MH, x_MH, rstd_M, dw, *sizes, BLOCK=8192)
    return dx, dw
