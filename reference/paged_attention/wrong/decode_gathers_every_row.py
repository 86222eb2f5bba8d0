# base = "solution"
# caught_by = "paged_decode.decode_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but gathers as many pages for each sequence as the longest one has."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    used_L = torch.arange(table_BL.shape[1]) * k_PNHD.shape[1]
    safe_BL = table_BL.masked_fill(used_L >= lengths_B[:, None], 0)
    gathered = [x[safe_BL].flatten(0, 1) for x in (k_PNHD, v_PNHD)]
    rows = torch.arange(safe_BL.numel()).view(safe_BL.shape)
    return _decode_checked(q_BHqD, *gathered, rows, lengths_B, scale=scale)
