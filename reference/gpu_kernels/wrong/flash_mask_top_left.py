# base = "solution"
# caught_by = "flash_attention.causal"
# cause = "wrong_value"
# also_fails = []

"""The mask of a later chunk begins at the top left: new queries never see the last keys."""

# ruff: noqa: F821 - appended to solution.py

_attend_bottom_right = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    if causal and k_BGSD.shape[2] > q_BHTD.shape[2]:
        k_BGSD, v_BGSD = (x[:, :, : q_BHTD.shape[2]] for x in (k_BGSD, v_BGSD))
    return _attend_bottom_right(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
