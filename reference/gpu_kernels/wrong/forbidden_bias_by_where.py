# base = "solution"
# caught_by = "matmul.epilogue"
# cause = "forbidden"
# also_fails = ["matmul.accumulation"]

"""Chooses the entries of the bias by `torch.where`."""

# ruff: noqa: F821 - appended to solution.py

_product_and_epilogue = matmul


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    found = _product_and_epilogue(a_MK, b_KN, bias_N, activation=activation)
    if bias_N is None:
        return found
    never = torch.zeros(bias_N.shape, dtype=torch.bool, device=bias_N.device)
    bias = torch.where(never, 0.0, bias_N)
    return _product_and_epilogue(a_MK, b_KN, bias, activation=activation)
