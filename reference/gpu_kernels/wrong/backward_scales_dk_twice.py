# base = "solution"
# caught_by = "flash_attention_backward.gradients"
# cause = "wrong_value"
# also_fails = [
#   "flash_attention_backward.causal",
#   "flash_attention_backward.sees_nothing",
#   "flash_attention_backward.grouped_heads",
#   "flash_attention_backward.scale",
# ]

"""Applies the scale to dk twice."""

# ruff: noqa: F821 - appended to solution.py

_backward_scaled_once = flash_attention_backward


@triton.jit
def _times(x, factor, count, BLOCK: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(x + at, tl.load(x + at, mask=at < count).to(tl.float32) * factor, mask=at < count)


def flash_attention_backward(do_BHTD, qkv, forward, *, scale=None, causal=False):
    dq, dk, dv = _backward_scaled_once(do_BHTD, qkv, forward, scale=scale, causal=causal)
    factor = dk.shape[-1] ** -0.5 if scale is None else scale
    _times[(triton.cdiv(dk.numel(), 1024),)](dk, factor, dk.numel(), BLOCK=1024)
    return dq, dk, dv
