# base = "solution"
# caught_by = "layernorm.huge_mean"
# cause = "wrong_value"
# also_fails = ["layernorm.forward"]

"""Adds eps to the deviation instead of the variance."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _layernorm_kernel(
    x_MH, w_H, b_H, y_MH, mean_M, rstd_M, H, eps, xm, xh, ws, bs, ym, BLOCK_N: tl.constexpr,
):  # fmt: skip
    row, h = tl.program_id(0), tl.arange(0, BLOCK_N)
    x = tl.load(x_MH + row * xm + h * xh, mask=h < H, other=0.0).to(tl.float32)
    w = tl.load(w_H + h * ws, mask=h < H, other=0.0).to(tl.float32)
    b = tl.load(b_H + h * bs, mask=h < H, other=0.0).to(tl.float32)
    mean = tl.sum(x) / H
    centred = tl.where(h < H, x - mean, 0.0)
    rstd = 1.0 / (tl.sqrt(tl.sum(centred * centred) / H) + eps)
    tl.store(y_MH + row * ym + h, centred * rstd * w + b, mask=h < H)
    tl.store(mean_M + row, mean)
    tl.store(rstd_M + row, rstd)
