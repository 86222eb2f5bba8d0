# base = "solution"
# caught_by = "paged_prefill.prefill_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but computes a batch padded to its longest chunk and sequence."""

# ruff: noqa: F821 - appended to solution.py

_prefill_checked = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (k_PNHD, v_PNHD, table_BL, lengths_B)
    out = _prefill_checked(q_THqD, starts_B1, *args, scale=scale)
    if not len(lengths_B) or not len(q_THqD) or not int(lengths_B.max()):
        return out
    counts, (T, Hq, D) = starts_B1.diff(), q_THqD.shape
    rows, widths = torch.arange(int(counts.max())), torch.arange(int(lengths_B.max()))
    place_BT = (starts_B1[:-1, None] + rows).clamp(max=T - 1)
    N, H = k_PNHD.shape[1:3]
    page_BS = table_BL[:, widths // N].masked_fill(widths >= lengths_B[:, None], 0)
    k, v = (x[page_BS, widths % N].float().transpose(1, 2) for x in (k_PNHD, v_PNHD))
    q = q_THqD[place_BT].float().transpose(1, 2).reshape(len(k), H, -1, D)
    scores = (q @ k.transpose(2, 3) * _scale(scale, D)).view(len(k), Hq, len(rows), -1)
    own_BT = lengths_B[:, None] - counts[:, None] + rows
    unseen = (widths > own_BT[..., None]) | (widths >= lengths_B[:, None, None])
    weights = torch.softmax(scores.masked_fill(unseen[:, None], -math.inf), dim=-1).nan_to_num()
    dead = (widths >= lengths_B[:, None])[:, None, :, None]
    padded = weights.view(len(k), H, -1, len(widths)) @ v.masked_fill(dead, 0.0)
    padded = padded.view(len(k), Hq, len(rows), D).transpose(1, 2)
    return padded[rows < counts[:, None]].to(q_THqD.dtype)
