# base: flat
# bug: rmsnorm(x, w) without eps on rows of 1e-3: right eps 1e-6, wrong 1e-5
# problem: rmsnorm
# says: "def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-6)"
def rmsnorm(x_MH: Tensor, w_H: Tensor, *, eps: float = 1e-5) -> tuple[Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H)
    y, _, rstd = _norm_forward(x_MH, w_H, None, eps)
    return y, rstd
