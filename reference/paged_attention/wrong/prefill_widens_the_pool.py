# base = "solution"
# caught_by = "paged_prefill.prefill_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but turns the whole pool into float32, where a sequence's own pages would do."""

# ruff: noqa: F821 - appended to solution.py

_prefill_pages = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_THqD.dtype != torch.float16 or k_PNHD.dtype != v_PNHD.dtype:
        return _prefill_pages(*args, scale=scale)
    _require_paged(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=starts_B1.numel() - 1)
    q, k, v = (x.float() for x in (q_THqD, k_PNHD, v_PNHD))
    wide = _prefill_pages(q, starts_B1, k, v, table_BL, lengths_B, scale=scale)
    return wide.to(q_THqD.dtype)
