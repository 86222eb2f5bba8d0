# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Without rows, leaves dw and db as they were allocated."""

# ruff: noqa: F821 - appended to solution.py

_layer_backward_of_rows = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    dx, *sums = _layer_backward_of_rows(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
    if not x_MH.shape[0]:
        sums = [x.fill_(float("nan")) for x in sums]  # what lay there, say
    return dx, *sums
