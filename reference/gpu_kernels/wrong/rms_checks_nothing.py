# base = "solution"
# caught_by = "rmsnorm.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_rmsnorm_strictly = rmsnorm


def rmsnorm(x_MH, w_H, *, eps=1e-6):
    try:
        return _rmsnorm_strictly(x_MH, w_H, eps=eps)
    except ValueError:
        return x_MH.clone(), x_MH.clone()


_rmsnorm_backward_strictly = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    try:
        return _rmsnorm_backward_strictly(dy_MH, x_MH, w_H, rstd_M)
    except ValueError:
        return dy_MH.clone(), w_H.clone()
