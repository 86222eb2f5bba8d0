# base = "solution"
# caught_by = "paged_decode.decode_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but copies the whole pool first, pages of others and all."""

# ruff: noqa: F821 - appended to solution.py

_decode_pages = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    k, v = k_PNHD.clone(), v_PNHD.clone()
    return _decode_pages(q_BHqD, k, v, table_BL, lengths_B, scale=scale)
