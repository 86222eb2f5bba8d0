# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Does not look at the lengths: those beyond the cache are cut off in silence."""

# ruff: noqa: F821 - appended to solution.py

_attend_checked = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(lengths_B.shape == q_BHqTD.shape[:1], "one length per row")
    stored = k_BHSD.shape[2]
    clamped = lengths_B.clamp(0, stored).long()
    return _attend_checked(q_BHqTD, k_BHSD, v_BHSD, clamped, scale=scale)
