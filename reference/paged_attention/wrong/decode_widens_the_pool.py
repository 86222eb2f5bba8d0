# base = "solution"
# caught_by = "paged_decode.decode_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but turns the whole pool into float32, where a sequence's own pages would do."""

# ruff: noqa: F821 - appended to solution.py

_decode_pages = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    wide = (x.float() for x in (q_BHqD, k_PNHD, v_PNHD))
    return _decode_pages(*wide, table_BL, lengths_B, scale=scale).to(q_BHqD.dtype)
