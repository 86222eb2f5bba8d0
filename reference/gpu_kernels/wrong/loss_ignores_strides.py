# base = "solution"
# caught_by = "cross_entropy.strides"
# cause = "wrong_value"
# also_fails = []

"""Takes every view of logits for a dense matrix."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_loss_with_strides = cross_entropy


def cross_entropy(x_MV, target_M, *, ignore_index=-100):
    dense = _as_if_contiguous(x_MV) if x_MV.dim() == 2 else x_MV
    return _loss_with_strides(dense, target_M, ignore_index=ignore_index)
