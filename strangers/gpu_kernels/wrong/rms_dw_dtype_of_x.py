# base: split
# bug: x in float16 with a float32 weight: right dw in float32, wrong float16
# problem: rmsnorm
# says: "Return the gradients dx, in the dtype of x, and dw, in the dtype of w."
def rmsnorm_backward(
    dy_MH: Tensor, x_MH: Tensor, w_H: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, rstd_M)
    dx, dw = _norm_backward(dy_MH, x_MH, w_H, None, rstd_M)
    return dx, dw.to(x_MH.dtype)
