# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Tiles of 64 tokens; what was summed up is not scaled when a later tile has a larger maximum."""

# ruff: noqa: F821 - appended to solution.py


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    factor = _scale(scale, q_BHqD.shape[2])
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        q = q_BHqD[b].float().reshape(k_PNHD.shape[2], -1, q_BHqD.shape[2])
        total, summed = 0.0, torch.zeros_like(q)
        for first in range(0, length, 64):
            last = min(first + 64, length)
            k, v = (_tokens(x, table_BL[b], first, last) for x in (k_PNHD, v_PNHD))
            scores = (q @ k.transpose(1, 2)) * factor
            weights = torch.exp(scores - scores.amax(dim=-1, keepdim=True))
            total = total + weights.sum(dim=-1, keepdim=True)
            summed = summed + weights @ v
        if length:
            out[b] = (summed / total).view(q_BHqD.shape[1:])
    return out
