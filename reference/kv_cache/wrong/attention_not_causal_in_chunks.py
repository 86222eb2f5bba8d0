# base = "solution"
# caught_by = "decode_attention.chunk_mask"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Lets every query of a chunk see the whole chunk."""

# ruff: noqa: F821 - appended to solution.py

_attend_causally = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    parts = [
        _attend_causally(q_BHqTD[:, :, t : t + 1], k_BHSD, v_BHSD, lengths_B, scale=scale)
        for t in range(q_BHqTD.shape[2])
    ]
    return torch.cat(parts, dim=2)
