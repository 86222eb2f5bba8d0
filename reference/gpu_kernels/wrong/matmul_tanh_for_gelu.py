# base = "solution"
# caught_by = "matmul.epilogue"
# cause = "wrong_value"
# also_fails = []

"""The approximation by a tanh where the exact GELU is asked for."""

# ruff: noqa: F821 - appended to solution.py

_matmul_as_asked = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    activation = "gelu_tanh" if activation == "gelu" else activation
    return _matmul_as_asked(a_MK, b_KN, bias_N, activation=activation)
