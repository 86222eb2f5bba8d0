# base = "solution"
# caught_by = "paged_decode.combinations"
# cause = "wrong_value"
# also_fails = []

"""Merges tiles of 64 tokens by the maximum of the newest: where scores fall far, it overflows."""

# ruff: noqa: F821 - appended to solution.py


def paged_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    _require_paged(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B, rows=q_BHqD.shape[0])
    factor = _scale(scale, q_BHqD.shape[2])
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        q = q_BHqD[b].float().reshape(k_PNHD.shape[2], -1, q_BHqD.shape[2])
        top, total, summed = -math.inf, 0.0, torch.zeros_like(q)
        for first in range(0, length, 64):
            last = min(first + 64, length)
            k, v = (_tokens(x, table_BL[b], first, last) for x in (k_PNHD, v_PNHD))
            scores = (q @ k.transpose(1, 2)) * factor
            newest = scores.amax(dim=-1, keepdim=True)
            shrink, weights = torch.exp(top - newest), torch.exp(scores - newest)
            total = total * shrink + weights.sum(dim=-1, keepdim=True)
            summed, top = summed * shrink + weights @ v, newest
        if length:
            out[b] = (summed / total).view(q_BHqD.shape[1:])
    return out
