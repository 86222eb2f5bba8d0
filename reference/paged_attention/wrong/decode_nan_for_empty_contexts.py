# base = "solution"
# caught_by = "paged_decode.ragged_contexts"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Divides by the sum of no weights."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    out = _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    return out.masked_fill((lengths_B == 0)[:, None, None], math.nan)
