# base = "solution"
# caught_by = "matmul.product"
# cause = "forbidden"
# also_fails = ["matmul.strides"]

"""torch's own product under another name; the epilogue is a kernel."""

# ruff: noqa: F821 - appended to solution.py

_matmul_by_kernel = matmul
_multiply = torch.mm


def matmul(a_MK, b_KN, bias_N=None, *, activation="none"):
    if bias_N is not None or activation != "none":
        return _matmul_by_kernel(a_MK, b_KN, bias_N, activation=activation)
    check_tensor("a", a_MK, rank=2, dtypes=FLOATS)
    check_tensor("b", b_KN, rank=2, dtypes=(a_MK.dtype,))
    check_shape("b", b_KN, (a_MK.shape[1], b_KN.shape[1]))
    return _multiply(a_MK, b_KN)
