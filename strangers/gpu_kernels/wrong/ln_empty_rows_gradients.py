# base: plain
# bug: M = 0 and H = 5: right dw and db five zeros (sums over no rows), wrong empty tensors
# problem: layernorm
# says: "Return the gradients dx, in the dtype of x, and dw and db, in the dtype of w."
def layernorm_backward(
    dy_MH: Tensor, x_MH: Tensor, *, w_H: Tensor, mean_M: Tensor, rstd_M: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    _check_norm_backward(dy_MH, x_MH, w_H, mean_M, rstd_M)
    M, H = x_MH.shape
    dx, dw, db = _new(x_MH), _new(w_H), _new(w_H)
    if M == 0:
        return dx, _new(w_H, (0,)), _new(w_H, (0,))
    strides = (*dy_MH.stride(), *x_MH.stride())
    stats = (mean_M.stride(0), rstd_M.stride(0))
    if M:
        _ln_dx_kernel[(M,)](
            dy_MH, x_MH, w_H, mean_M, rstd_M, dx, H, *strides, w_H.stride(0), *stats, BLOCK=1024
        )
    _ln_dwb_kernel[(triton.cdiv(H, 64),)](
        dy_MH, x_MH, mean_M, rstd_M, dw, db, M, H, *strides, *stats, BM=16, BH=64
    )
    return dx, dw, db
