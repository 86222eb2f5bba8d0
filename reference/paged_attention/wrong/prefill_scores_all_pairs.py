# base = "solution"
# caught_by = "paged_prefill.prefill_memory"
# cause = "too_much_memory"
# also_fails = []

"""Right, but one matrix holds the scores of all new tokens with the tokens of all sequences."""

# ruff: noqa: F821 - appended to solution.py

_prefill_pages = paged_prefill


def paged_prefill(q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B, *, scale=None):
    args = (q_THqD, starts_B1, k_PNHD, v_PNHD, table_BL, lengths_B)
    checked = _prefill_pages(q_THqD[:0], starts_B1 * 0, *args[2:], scale=scale)
    starts, lengths = starts_B1.tolist(), lengths_B.tolist()
    if starts[-1] != q_THqD.shape[0] or starts[0] != 0 or starts != sorted(starts):
        return _prefill_pages(*args, scale=scale)
    if sum(lengths) == 0 or starts[-1] == 0:
        return checked.new_zeros(q_THqD.shape)
    each = [range(n) for n in lengths]
    k, v = (
        torch.cat([_tokens(x, table_BL[b], 0, n) for b, n in enumerate(lengths)], dim=1)
        for x in (k_PNHD, v_PNHD)
    )
    row_S = torch.tensor([b for b, own in enumerate(each) for _ in own])
    place_S = torch.tensor([place for own in each for place in own])
    news = [b - a for a, b in itertools.pairwise(starts)]
    row_T = torch.tensor([b for b, count in enumerate(news) for _ in range(count)])
    own = [range(n - count, n) for n, count in zip(lengths, news, strict=True)]
    place_T = torch.tensor([place for places in own for place in places])
    seen_TS = (row_T[:, None] == row_S) & (place_T[:, None] >= place_S)
    H, D = k.shape[0], k.shape[2]
    q = q_THqD.float().view(len(row_T), H, -1, D).permute(1, 2, 0, 3)
    scores = (q @ k[:, None].transpose(2, 3)) * _scale(scale, D)
    weights = torch.softmax(scores.masked_fill(~seen_TS, -math.inf), dim=-1)
    out = weights.nan_to_num(0.0) @ v[:, None]
    return out.permute(2, 0, 1, 3).reshape(q_THqD.shape).to(q_THqD.dtype)
