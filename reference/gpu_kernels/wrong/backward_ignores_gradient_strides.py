# base = "solution"
# caught_by = "flash_attention_backward.gradients"
# cause = "wrong_value"
# also_fails = []

"""Takes the gradient of the output for dense."""

# ruff: noqa: F821 - appended to solution.py


def _as_if_contiguous(x):
    steps = [1]
    for size in reversed(x.shape[1:]):
        steps.insert(0, steps[0] * size)
    return x.as_strided(x.shape, steps)


_backward_with_strides = flash_attention_backward


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    check_like("do", do_BHTD, qkv[0])
    dense = _as_if_contiguous(do_BHTD)
    return _backward_with_strides(dense, qkv, forward, scale=scale, causal=causal)
