# base = "solution"
# caught_by = "layernorm.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_layernorm_strictly = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    try:
        return _layernorm_strictly(x_MH, w_H, b_H, eps=eps)
    except ValueError:
        return x_MH.clone(), x_MH.clone(), x_MH.clone()


_layernorm_backward_strictly = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    try:
        return _layernorm_backward_strictly(dy_MH, x_MH, w_H=w_H, mean_M=mean_M, rstd_M=rstd_M)
    except ValueError:
        return dy_MH.clone(), w_H.clone(), w_H.clone()
