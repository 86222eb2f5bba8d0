# base = "solution"
# caught_by = "decode_attention.combinations"
# cause = "wrong_value"
# also_fails = []

"""Finds the shared head by a shift: wrong for groups that are no power of two."""

# ruff: noqa: F821 - appended to solution.py

_attend_right = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    Hq, H = q_BHqTD.shape[1], k_BHSD.shape[1]
    shift = (Hq // H).bit_length() - 1
    shared = torch.tensor([min(h >> shift, H - 1) for h in range(Hq)])
    return _attend_right(q_BHqTD, k_BHSD[:, shared], v_BHSD[:, shared], lengths_B, scale=scale)
