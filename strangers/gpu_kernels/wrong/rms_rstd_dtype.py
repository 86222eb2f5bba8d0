# base: plain
# bug: x in float16: right rstd in float32, wrong float16
# problem: rmsnorm
# says: "Return the normalised rows, in the dtype of x, and `rstd_M` in float32; M may be 0."
def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    M, H = x_MH.shape
    y, rstd = _new(x_MH), _new(x_MH, (M,))
    if M:
        _rms_kernel[(M,)](x_MH, w_H, y, rstd, H, *x_MH.stride(), *w_H.stride(), float(eps), BLOCK=1024)
    return y, rstd
