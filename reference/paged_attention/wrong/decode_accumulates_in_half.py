# base = "solution"
# caught_by = "paged_decode.page_sizes"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Scores and sums of float16 inputs are kept in float16."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    if q_BHqD.dtype != torch.float16:
        return _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    factor, out = _scale(scale, q_BHqD.shape[2]), torch.zeros_like(q_BHqD)
    for b, length in enumerate(lengths_B.tolist()):
        k, v = (_tokens(x, table_BL[b], 0, length).half() for x in (k_PNHD, v_PNHD))
        q_HGD = q_BHqD[b].reshape(k.shape[0], -1, k.shape[2])
        out[b] = _attend(q_HGD, k, v, factor)[0].reshape(out[b].shape)
    return out
