# base: transposed
# bug: any x: right (y, mean, rstd), wrong (y, rstd, mean), which the backward pass of the same author may never notice
# problem: layernorm
# says: "Return the normalised rows, in the dtype of x, and `mean_M` and `rstd_M` in float32."
def layernorm(
    x_MH: Tensor, w_H: Tensor, b_H: Tensor, *, eps: float = 1e-5
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm(x_MH, eps, w_H, b_H)
    y, mean, rstd = Norm(True).forward(x_MH, w_H, b_H, eps)
    return y, rstd, mean
