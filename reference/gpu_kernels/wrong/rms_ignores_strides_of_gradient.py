# base = "solution"
# caught_by = "rmsnorm.backward"
# cause = "wrong_value"
# also_fails = []

"""Takes dy for a dense matrix."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_rms_backward_with_strides = rmsnorm_backward


def rmsnorm_backward(dy_MH, x_MH, w_H, rstd_M):
    if 0 not in dy_MH.stride():
        dy_MH = _as_if_contiguous(dy_MH)
    return _rms_backward_with_strides(dy_MH, x_MH, w_H, rstd_M)
