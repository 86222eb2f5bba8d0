# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Masks only the scores, if there are several queries: 0 times NaN is NaN."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    T, S = q_BHqTD.shape[2], k_BHSD.shape[2]
    if T == 1 or not S:
        return _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    finite = _attend_right(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    spilled = (v_BHSD.float() * 0).sum(dim=2, keepdim=True)
    group = q_BHqTD.shape[1] // k_BHSD.shape[1]
    return finite + spilled.repeat_interleave(group, dim=1).to(finite.dtype)
