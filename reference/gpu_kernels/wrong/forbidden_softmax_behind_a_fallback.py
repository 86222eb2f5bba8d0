# base = "solution"
# caught_by = "softmax.strides"
# cause = "wrong_value"
# also_fails = []

"""Falls back to a kernel of its own where torch's softmax raises, and is graded on that kernel."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_softmax_kernel_of_mine = softmax


def softmax(x_MN):
    try:
        return torch.softmax(x_MN, dim=1)
    except RuntimeError:
        dense = _as_if_contiguous(x_MN) if x_MN.dim() == 2 else x_MN
        return _softmax_kernel_of_mine(dense)
