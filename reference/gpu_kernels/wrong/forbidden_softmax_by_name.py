# base = "solution"
# caught_by = "softmax.rows"
# cause = "forbidden"
# also_fails = ["softmax.large_logits", "softmax.infinite", "softmax.strides"]

"""torch's own softmax, by a name that is put together."""

# ruff: noqa: F821 - appended to solution.py


def softmax(x_MN):
    check_tensor("x", x_MN, rank=2, dtypes=FLOATS)
    require(x_MN.shape[1] > 0, "no columns")
    return getattr(torch, "soft" + "max")(x_MN, dim=1)
