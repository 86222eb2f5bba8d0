# base = "solution"
# caught_by = "paged_decode.dead_slots"
# cause = "wrong_value"
# also_fails = ["paged_decode.combinations"]

"""Gives the rest of the last page a weight of 0, and 0 times NaN is NaN."""

# ruff: noqa: F821 - appended to solution.py

_decode_checked = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])

    out = _decode_checked(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
    N = k_PNHD.shape[1]
    for b, length in enumerate(lengths_B.tolist()):
        if length % N:
            dead_HD = v_PNHD[table_BL[b, length // N], length % N :].sum(dim=0)
            dead_HqD = dead_HD.repeat_interleave(out.shape[1] // len(dead_HD), dim=0)
            out[b] += 0.0 * dead_HqD
    return out
