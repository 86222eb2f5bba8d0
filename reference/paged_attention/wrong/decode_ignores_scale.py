# base = "solution"
# caught_by = "paged_decode.page_sizes"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Always divides by the square root of the head dimension."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    return _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
