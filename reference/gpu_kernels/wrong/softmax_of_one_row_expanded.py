# base = "solution"
# caught_by = "softmax.strides"
# cause = "wrong_value"
# also_fails = []

"""Takes a stride of 0 for a single row, and leaves the others as they were allocated."""

# ruff: noqa: F821 - appended to solution.py

_softmax_of_own_rows = softmax


def softmax(x_MN):
    found = _softmax_of_own_rows(x_MN)
    if x_MN.dim() == 2 and x_MN.shape[0] > 1 and x_MN.stride(0) == 0:
        found[1:].zero_()  # what lay there, say
    return found
