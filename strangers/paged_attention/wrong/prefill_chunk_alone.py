# base: dataclasses_
# bug: length 5, chunk of 2; right: query 0 sees 4 tokens; wrong: 1 (whole prompts and single tokens are right)
# problem: paged_prefill
# says: "query i stands at position `lengths_B[b] - n + i`"


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
    pages = _Pages.of(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B, scale)
    if starts_B1.dim() != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be int64 of rank 1")
    starts = starts_B1.tolist()
    if len(starts) != len(pages.lengths) + 1 or starts != sorted(starts):
        raise ValueError("starts must be B + 1 numbers that never fall")
    if (starts[0], starts[-1]) != (0, q_THqD.shape[0]):
        raise ValueError("starts must go from 0 to T")
    t, hq, d = q_THqD.shape
    group = pages.group
    out = torch.zeros(t, hq, d, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(pages.lengths):
        first, last = starts[b], starts[b + 1]
        # Queries in front of the first token see nothing: leave them out.
        blind = max(last - first - length, 0)
        first += blind
        n = last - first
        if n == 0:
            continue
        k_HSD, v_HSD = pages.part(pages.k, b, 0, length), pages.part(pages.v, b, 0, length)
        hidden = torch.ones(n, length, dtype=torch.bool, device=out.device).triu(1 if n > 1 else length)
        for h in range(hq // group):
            q = q_THqD[first:last, h * group : (h + 1) * group].float()
            s = torch.matmul(q.transpose(0, 1), k_HSD[h].T) * pages.scale
            w = torch.softmax(s.masked_fill(hidden, -math.inf), dim=-1)
            o = torch.matmul(w, v_HSD[h]).transpose(0, 1)
            out[first:last, h * group : (h + 1) * group] = o.to(out.dtype)
    return out
