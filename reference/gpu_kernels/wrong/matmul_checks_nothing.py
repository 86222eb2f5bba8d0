# base = "solution"
# caught_by = "matmul.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Answers something where arguments do not fit."""

# ruff: noqa: F821 - appended to solution.py

_matmul_strictly = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    try:
        return _matmul_strictly(a_MK, b_KN, bias_N, activation=activation)
    except ValueError:
        return a_MK.clone()
