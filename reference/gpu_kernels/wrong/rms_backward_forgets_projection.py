# base = "solution"
# caught_by = "rmsnorm.backward"
# cause = "wrong_value"
# also_fails = ["rmsnorm.weight_gradient"]

"""dx = rstd · g: rstd is taken for a constant."""

# ruff: noqa: F821, PLR0913 - appended to solution.py

_rms_backward_projected = rmsnorm_backward


@triton.jit
def _scaled_gradient(dy, w, rstds, dx, H, dm, dh, ws, BLOCK: tl.constexpr):
    row, h = tl.program_id(0), tl.arange(0, BLOCK)
    g = tl.load(dy + row * dm + h * dh, mask=h < H, other=0.0).to(tl.float32)
    g *= tl.load(w + h * ws, mask=h < H, other=0.0).to(tl.float32)
    tl.store(dx + row * H + h, g * tl.load(rstds + row), mask=h < H)


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    dx, dw = _rms_backward_projected(dy_MH, x_MH, w_H, rstd_M)
    (M, H), steps = x_MH.shape, (*dy_MH.stride(), w_H.stride(0))
    _scaled_gradient[(M,)](dy_MH, w_H, rstd_M, dx, H, *steps, BLOCK=8192)
    return dx, dw
