# base: online
# bug: float16, D = 8, scores near 40; right: scaled in float32; wrong: q * scale is rounded to float16 first (with D = 4, 16, 64 nothing is lost)
# problem: paged_prefill
# says: "Half precision is accumulated in float32."


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
    _check_pages(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    _need(starts_B1.dim() == 1 and starts_B1.dtype == torch.int64, "starts: int64, rank 1")
    starts = starts_B1.tolist()
    _need(len(starts) == lengths_B.shape[0] + 1, "starts must have B + 1 numbers")
    _need(starts[0] == 0 and starts[-1] == q_THqD.shape[0], "starts must go from 0 to T")
    _need(all(a <= b for a, b in zip(starts, starts[1:])), "starts must not fall")
    t, hq, d = q_THqD.shape
    if scale is None:
        scale = 1 / math.sqrt(d)
    n, h = k_PNHD.shape[1:3]
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, (row, length) in enumerate(zip(table_BL.tolist(), lengths_B.tolist())):
        n_new = starts[b + 1] - starts[b]
        if n_new == 0:
            continue
        q = (q_THqD[starts[b] : starts[b + 1]] * scale).float()
        q_HGTD = q.reshape(n_new, h, hq // h, d).permute(1, 2, 0, 3)
        stands_T = torch.arange(length - n_new, length, device=q.device)
        top = torch.full(q_HGTD.shape[:3], NEG, device=q.device)
        total = torch.zeros_like(top)
        acc = torch.zeros(q_HGTD.shape, device=q.device)
        for i, (page, first, last) in enumerate(_stretches(row, n, 0, length)):
            k_HND = k_PNHD[page, first:last].float().transpose(0, 1)
            v_HND = v_PNHD[page, first:last].float().transpose(0, 1)
            s = q_HGTD @ k_HND[:, None].transpose(2, 3)
            at_N = torch.arange(i * n + first, i * n + last, device=q.device)
            s = s.masked_fill(at_N[None, :] > stands_T[:, None], NEG)
            new = torch.maximum(top, s.amax(3))
            shift = torch.where(new == NEG, torch.zeros_like(new), new)
            w = torch.exp(s - shift[..., None])
            old = torch.exp(top - shift)
            total = total * old + w.sum(3)
            acc = acc * old[..., None] + w @ v_HND[:, None]
            top = new
        o = acc / torch.where(total > 0, total, torch.ones_like(total))[..., None]
        out[starts[b] : starts[b + 1]] = o.permute(2, 0, 1, 3).reshape(n_new, hq, d).to(out.dtype)
    return out
