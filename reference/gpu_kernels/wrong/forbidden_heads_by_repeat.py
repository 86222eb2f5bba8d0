# base = "solution"
# caught_by = "flash_attention.grouped_heads"
# cause = "forbidden"
# also_fails = []

"""Repeats shared heads by torch, which adds inside."""

# ruff: noqa: F821 - appended to solution.py

_flash_of_own_heads = flash_attention


def _repeated(x, count):
    return x[:, :, None].repeat(1, 1, count, 1, 1).flatten(1, 2)


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    check_heads(q_BHTD, k_BGSD, v_BGSD)
    group = q_BHTD.shape[1] // k_BGSD.shape[1]
    k, v = (x if group == 1 else _repeated(x, group) for x in (k_BGSD, v_BGSD))
    return _flash_of_own_heads(q_BHTD, k, v, scale=scale, causal=causal)
