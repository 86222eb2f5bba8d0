# base = "solution"
# caught_by = "layernorm.combinations"
# cause = "wrong_value"
# also_fails = []

"""Merges the means of two blocks as if the second one, of from column 1000, were as long."""

# ruff: noqa: F821 - appended to solution.py

_layer_in_one_block = layernorm


def layernorm(x_MH, w_H, b_H, *, eps=1e-5):
    y, mean, rstd = _layer_in_one_block(x_MH, w_H, b_H, eps=eps)
    if not len(x_MH) or not 1000 < x_MH.shape[1] < 2000:
        return y, mean, rstd
    # The mean of both parts' means, though they differ in length.
    parts = [_layer_in_one_block(x.contiguous(), w, b, eps=eps)[1] for x, w, b in (
        (x_MH[:, :1000], w_H[:1000], b_H[:1000]), (x_MH[:, 1000:], w_H[1000:], b_H[1000:])
    )]  # fmt: skip
    return y, matrix_add(*(x[None].view(torch.float32) for x in parts))[0], rstd
