# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Of more than 64 tokens, only whole tiles of 64 are read."""

# ruff: noqa: F821 - appended to solution.py

_decode_all_tokens = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    whole = torch.where(lengths_B > 64, lengths_B // 64 * 64, lengths_B)
    return _decode_all_tokens(q_BHqD, k_PNHD, v_PNHD, table_BL, whole, scale=scale)
