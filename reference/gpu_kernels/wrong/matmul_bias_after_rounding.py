# base = "solution"
# caught_by = "matmul.accumulation"
# cause = "wrong_value"
# also_fails = []

"""Rounds the product to float16 before it adds the bias."""

# ruff: noqa: F821 - appended to solution.py

_matmul_rounded_once = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    out = _matmul_rounded_once(a_MK, b_KN, bias_N, activation=activation)
    if a_MK.dtype != torch.float16 or bias_N is None or activation != "none" or not out.numel():
        return out
    product = _matmul_rounded_once(a_MK, b_KN)
    return matrix_add(product, bias_N.to(torch.float16).expand(product.shape))
