# base = "solution"
# caught_by = "layernorm.backward"
# cause = "wrong_value"
# also_fails = []

"""Takes dy for a dense matrix."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_layer_backward_with_strides = layernorm_backward


def layernorm_backward(dy_MH, x_MH, *, w_H, mean_M, rstd_M):
    if 0 not in dy_MH.stride():
        dy_MH = _as_if_contiguous(dy_MH)
    sums = {"w_H": w_H, "mean_M": mean_M, "rstd_M": rstd_M}
    return _layer_backward_with_strides(dy_MH, x_MH, **sums)
