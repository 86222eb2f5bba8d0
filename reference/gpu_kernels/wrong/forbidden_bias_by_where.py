# base = "solution"
# caught_by = "matmul.epilogue"
# cause = "forbidden"
# also_fails = []

"""Replaces a bias that is missing by zeros that `torch.where` chooses."""

# ruff: noqa: F821 - appended to solution.py

_product_and_epilogue = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    if bias_N is not None:
        never = torch.zeros(bias_N.shape, dtype=torch.bool, device=bias_N.device)
        bias_N = torch.where(never, 0.0, bias_N)
    return _product_and_epilogue(a_MK, b_KN, bias_N, activation=activation)
