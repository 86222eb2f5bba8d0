# base = "solution"
# caught_by = "split_kv_decode.split_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, a part at a time, but of a float32 copy of the whole pool."""

# ruff: noqa: F821 - appended to solution.py

_split_pages = split_kv_decode


def split_kv_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, n_splits, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    wide = (x.float() for x in (q_BHqD, k_PNHD, v_PNHD))
    out, lse = _split_pages(*wide, table_BL, lengths_B, n_splits=n_splits, scale=scale)
    return out.to(q_BHqD.dtype), lse
