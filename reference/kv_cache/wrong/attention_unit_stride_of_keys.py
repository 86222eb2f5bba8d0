# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Takes the stride of the last dimension of keys for 1."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    k = k_BHSD.as_strided(k_BHSD.shape, (*k_BHSD.stride()[:-1], 1))
    return _attend_right(q_BHqTD, k, v_BHSD, lengths_B, scale=scale)
