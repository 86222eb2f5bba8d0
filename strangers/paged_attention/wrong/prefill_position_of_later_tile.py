# base: linked
# bug: a chunk of 65 queries; right: query 64 stands 64 behind query 0; wrong: it stands where query 0 does (chunks up to 64 are right)
# problem: paged_prefill
# says: "query i stands at position `lengths_B[b] - n + i` and sees every token up to its own"


def paged_prefill(
    q_THqD: Tensor,
    starts_B1: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    pages = _checked(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _refuse_unless(starts_B1.dim() == 1 and starts_B1.dtype == torch.int64)
    _refuse_unless(starts_B1.shape[0] == len(pages) + 1)
    t, hq, d = q_THqD.shape
    starts = [int(x) for x in starts_B1]
    _refuse_unless(starts[0] == 0 and starts[-1] == t)
    _refuse_unless(all(starts[i] <= starts[i + 1] for i in range(len(pages))))
    h = k_PNHD.shape[2]
    group = hq // h
    if scale is None:
        scale = 1 / math.sqrt(d)
    reader = _Reader(k_PNHD, v_PNHD)
    out = torch.zeros(t, hq, d, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        stand = length - (starts[b + 1] - starts[b])  # where the first query stands
        # Queries a tile at a time, too: one of them sees tokens up to its last query.
        for at in range(starts[b], starts[b + 1], TILE):
            n = min(TILE, starts[b + 1] - at)
            position = stand
            sees = position + n
            if sees <= 0:
                continue
            q = q_THqD[at : at + n].float().mul(scale).reshape(n, h, group, d)
            q_HMD = q.permute(1, 0, 2, 3).reshape(h, n * group, d)
            rows = torch.arange(position, sees, device=q.device).repeat_interleave(group)
            scores = torch.full((h, n * group, sees), -math.inf, device=q.device)
            for start, k_HSD, _ in reader.tiles(pages[b], 0, sees):
                stop = start + k_HSD.shape[1]
                scores[:, :, start:stop] = torch.bmm(q_HMD, k_HSD.transpose(1, 2))
            columns = torch.arange(sees, device=q.device)
            scores.masked_fill_(columns > rows[:, None], -math.inf)
            weights = torch.softmax(scores, dim=2)
            weights[:, rows < 0] = 0.0
            o = torch.zeros(h, n * group, d, device=q.device)
            for start, _, v_HSD in reader.tiles(pages[b], 0, sees):
                o.baddbmm_(weights[:, :, start : start + v_HSD.shape[1]], v_HSD)
            out[at : at + n] = o.reshape(h, n, group, d).transpose(0, 1).reshape(n, hq, d)
    return out
