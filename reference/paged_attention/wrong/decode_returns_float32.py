# base = "solution"
# caught_by = "paged_decode.page_sizes"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Returns float32 for float16."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_returns_float32 = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    return _before_decode_returns_float32(
        q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale
    ).float()
