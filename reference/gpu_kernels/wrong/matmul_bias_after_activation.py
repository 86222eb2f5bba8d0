# base = "solution"
# caught_by = "matmul.epilogue"
# cause = "wrong_value"
# also_fails = []

"""Adds the bias to what GELU gave."""

# ruff: noqa: F821 - appended to solution.py

_matmul_without_bias = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    if bias_N is None or activation == "none":
        return _matmul_without_bias(a_MK, b_KN, bias_N, activation=activation)
    out = _matmul_without_bias(a_MK, b_KN, activation=activation)
    return matrix_add(out, bias_N.to(out.dtype).expand(out.shape))
