# base = "solution"
# caught_by = "paged_decode.grouped_heads"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Query head h reads key head h % H."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    H, Hq = k_PNHD.shape[2], q_BHqD.shape[1]
    order = torch.arange(Hq).view(-1, H).T.flatten()
    out = _decode_checked(q_BHqD[:, order], k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    return out[:, order.argsort()]
