# base = "solution"
# caught_by = "paged_decode.bad_input"
# cause = "wrong_error"
# also_fails = []

"""Query heads beyond a multiple of the key heads read the last one."""

# ruff: noqa: F821 - appended to solution.py

_before_decode_takes_any_heads = paged_decode


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    H = k_PNHD.shape[2]
    more = -q_BHqD.shape[1] % H if q_BHqD.dim() == 3 else 0
    if more:
        Hq = q_BHqD.shape[1]
        q_BHqD = torch.cat((q_BHqD, q_BHqD[:, :more]), dim=1)
        return _before_decode_takes_any_heads(
            q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale
        )[:, :Hq]
    return _before_decode_takes_any_heads(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale=scale)
