# base = "solution"
# caught_by = "paged_decode.decode_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, and gathers no page that is not in use, but those of all sequences at once."""

# ruff: noqa: F821 - appended to solution.py

_decode_pages = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    first_L = torch.arange(table_BL.shape[1]) * k_PNHD.shape[1]
    used_BL = first_L < lengths_B[:, None]
    own_BL = torch.zeros_like(table_BL)
    own_BL[used_BL] = torch.arange(int(used_BL.sum()))
    k, v = (x[table_BL[used_BL]] for x in (k_PNHD, v_PNHD))
    return _decode_pages(q_BHqD, k, v, own_BL, lengths_B, scale=scale)
