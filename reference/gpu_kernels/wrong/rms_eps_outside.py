# base = "solution"
# caught_by = "rmsnorm.extreme_rows"
# cause = "wrong_value"
# also_fails = []

"""Adds eps to the root instead of the mean square."""

# ruff: noqa: F821, PLR0913 - appended to solution.py


@triton.jit
def _rmsnorm_kernel(x_MH, w_H, y_MH, rstd_M, H, eps, xm, xh, ws, ym, BLOCK_N: tl.constexpr):
    row, h = tl.program_id(0), tl.arange(0, BLOCK_N)
    x = tl.load(x_MH + row * xm + h * xh, mask=h < H, other=0.0).to(tl.float32)
    w = tl.load(w_H + h * ws, mask=h < H, other=0.0).to(tl.float32)
    rstd = 1.0 / (tl.sqrt(tl.sum(x * x) / H) + eps)
    tl.store(y_MH + row * ym + h, x * rstd * w, mask=h < H)
    tl.store(rstd_M + row, rstd)
