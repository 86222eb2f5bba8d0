# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = ["layernorm.weight_gradients"]

"""Computes rstd from x again, and does not know eps."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_given_rstd = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    check_tensor("rstd", rstd_M, rank=1, dtypes=(torch.float32,))
    check_shape("rstd", rstd_M, (x_MH.shape[0],))
    _, _, rstd = layernorm(x_MH, w_H, w_H, eps=1e-5)
    return _layer_backward_of_given_rstd(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd)
