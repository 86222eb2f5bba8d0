# base = "solution"
# caught_by = "decode_attention.grouped_memory"
# cause = "too_much_memory"

"""Right, but copies keys and values once per query head."""

# ruff: noqa: F821 - appended to solution.py

_attend_in_groups = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    group = q_BHqTD.shape[1] // k_BHSD.shape[1]
    k, v = (x.repeat_interleave(group, dim=1) for x in (k_BHSD, v_BHSD))
    return _attend_in_groups(q_BHqTD, k, v, lengths_B, scale=scale)
