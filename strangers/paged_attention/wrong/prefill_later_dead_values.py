# base: recursive
# bug: length 3, N = 4, NaN in the values of row 3; right: as without; wrong: NaN (keys and scores are kept clean)
# problem: paged_prefill
# says: "Where tokens lie and what may not influence the result is as in `paged_decode`."


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
    _verify(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.ndim != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be of rank 1, int64")
    if len(starts_B1) != len(lengths_B) + 1:
        raise ValueError("starts must be B + 1 numbers")
    if int(starts_B1[0]) or int(starts_B1[-1]) != len(q_THqD) or bool((starts_B1[1:] < starts_B1[:-1]).any()):
        raise ValueError("starts must go from 0 to T and never fall")
    n, h, d = k_PNHD.shape[1:]
    hq = q_THqD.shape[1]
    if scale is None:
        scale = 1 / math.sqrt(d)
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)

    def attend(q: Tensor, position: int, row: Tensor, first: int, last: int) -> tuple[Tensor, Tensor]:
        """Return o [T, Hq, D], lse [T, Hq] of queries over pages first … last - 1; all see some."""
        if last - first > 4:
            middle = (first + last) // 2
            o1, l1 = attend(q, position, row, first, middle)
            o2, l2 = attend(q, position, row, middle, last)
            return _join(o1, l1, o2, l2)
        t = len(q)
        stop = min(last * n, position + t)
        k = k_PNHD[row[first:last]].flatten(0, 1)[: stop - first * n].float()
        v = v_PNHD[row[first:last]].flatten(0, 1).float()
        s = torch.einsum("thgd,shd->thgs", q.reshape(t, h, hq // h, d), k) * scale
        column = torch.arange(first * n, first * n + len(k), device=q.device)
        place = torch.arange(position, position + t, device=q.device)
        s = s.masked_fill((column[None, :] > place[:, None])[:, None, None], -math.inf)
        lse = torch.logsumexp(s, -1)
        w = torch.exp(s - torch.where(lse == -math.inf, 0.0, lse)[..., None])
        w = torch.nn.functional.pad(w, (0, len(v) - len(k)))
        o = torch.einsum("thgs,shd->thgd", w, v)
        return o.reshape(t, hq, d), lse.reshape(t, hq)

    for b, length in enumerate(lengths_B.tolist()):
        first, last = int(starts_B1[b]), int(starts_B1[b + 1])
        first = max(first, last - length)
        if first < last:
            q = q_THqD[first:last].float()
            o, _ = attend(q, length - (last - first), table_BL[b], 0, math.ceil(length / n))
            out[first:last] = o.to(out.dtype)
    return out
