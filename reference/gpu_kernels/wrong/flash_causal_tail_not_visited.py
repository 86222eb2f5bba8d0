# base = "solution"
# caught_by = "flash_attention.combinations"
# cause = "wrong_value"
# also_fails = ["flash_attention.causal"]

"""Under the causal mask, keys behind the last whole tile of 64 are never visited."""

# ruff: noqa: F821 - appended to solution.py

_attention_to_all = flash_attention


def flash_attention(q_BHTD, k_BGSD, v_BGSD, *, scale=None, causal=False):
    out, lse = _attention_to_all(q_BHTD, k_BGSD, v_BGSD, scale=scale, causal=causal)
    T, S = q_BHTD.shape[2], k_BGSD.shape[2]
    left = S % 64
    if causal and T > 1 and S > 64 and left:  # the tail behind the last whole tile of 64
        keys, values = k_BGSD[:, :, : S - left], v_BGSD[:, :, : S - left]
        last = q_BHTD[:, :, -1:]
        out[:, :, -1:], lse[:, :, -1:] = _attention_to_all(last, keys, values, scale=scale)
    return out, lse
