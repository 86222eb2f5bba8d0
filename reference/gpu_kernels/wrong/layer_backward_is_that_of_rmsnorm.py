# base = "solution"
# caught_by = "layernorm.backward"
# cause = "wrong_value"
# also_fails = ["layernorm.weight_gradients"]

"""dx without the mean of g: the mean of x is taken for a constant."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_layer_backward_in_full = layernorm_backward


@triton.jit
def _dx_without_level(dy, x, w, means, rstds, dx, H, dm, dh, xm, xh, ws, BLOCK: tl.constexpr):
    row, h = tl.program_id(0), tl.arange(0, BLOCK)
    rstd = tl.load(rstds + row)
    g = tl.load(dy + row * dm + h * dh, mask=h < H, other=0.0).to(tl.float32)
    g *= tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)
    normal = tl.load(x + row * xm + h * xh, mask=h < H, other=0.0).to(tl.float32)
    normal = (normal - tl.load(means + row)) * rstd
    dx_H = rstd * (g - normal * (tl.sum(g * normal) / H))
    tl.store(dx + row * H + h, dx_H, mask=h < H)


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    sums = {"w_H": w_H, "mean_M": mean_M, "rstd_M": rstd_M}
    dx, dw, db = _layer_backward_in_full(dy_MH, x_MH, **sums)
    M, H = x_MH.shape
    steps = (*dy_MH.stride(), *x_MH.stride(), w_H.stride(0))
    _dx_without_level[(M,)](dy_MH, x_MH, w_H, mean_M, rstd_M, dx, H, *steps, BLOCK=8192)
    return dx, dw, db
