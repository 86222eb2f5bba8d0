# base = "solution"
# caught_by = "decode_attention.chunk_mask"
# cause = "wrong_value"
# also_fails = ["decode_attention.combinations"]

"""Aligns the causal mask top-left: query t of any chunk sees the first t + 1 tokens."""

# ruff: noqa: F821 - appended to solution.py

_attend_aligned = decode_attention


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    if q_BHqTD.dim() < 4 or q_BHqTD.shape[2] == 1:
        return _attend_aligned(q_BHqTD, k_BHSD, v_BHSD, lengths_B, scale=scale)
    _require_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B)
    T, S = q_BHqTD.shape[2], k_BHSD.shape[2]
    seen = torch.ones(T, S, dtype=torch.bool).tril()[None] & (
        torch.arange(S) < lengths_B[:, None, None]
    )
    return _attend(q_BHqTD, k_BHSD, v_BHSD, seen, scale or 1 / math.sqrt(q_BHqTD.shape[3]))
