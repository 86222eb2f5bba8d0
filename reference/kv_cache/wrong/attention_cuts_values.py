# base = "solution"
# caught_by = "decode_attention.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Takes keys and values of different lengths, up to the shorter one."""

# ruff: noqa: F821 - appended to solution.py

_attend_equal = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    if k_BHSD.dim() == 4 and v_BHSD.dim() == 4:
        count = min(k_BHSD.shape[2], v_BHSD.shape[2])
        if count < k_BHSD.shape[2]:
            lengths_B = lengths_B.clamp(max=count)
        k_BHSD, v_BHSD = k_BHSD[:, :, :count], v_BHSD[:, :, :count]
    return _attend_equal(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
