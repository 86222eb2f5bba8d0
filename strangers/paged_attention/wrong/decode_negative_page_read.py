# base: torchlib
# bug: page number -1 in use; right: ValueError; wrong: the last page is read
# problem: paged_decode
# says: "or a page number in use outside 0 … P - 1"


def _fit_decode(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor, starts=None) -> None:
    """Refuse what does not fit; without `starts` there must be one query per sequence."""
    ranks = [x.dim() for x in (q, k, v, table, lengths)]
    if ranks != [3, 4, 4, 2, 1]:
        raise ValueError(f"ranks {ranks}")
    if q.dtype not in (torch.float32, torch.float16):
        raise ValueError("q must be float32 or float16")
    if not (k.dtype == v.dtype == q.dtype and table.dtype == lengths.dtype == torch.int64):
        raise ValueError("dtypes do not fit")
    p, n, h, d = k.shape
    b = lengths.shape[0]
    if v.shape != k.shape or q.shape[2] != d or table.shape[0] != b:
        raise ValueError("sizes do not fit")
    if n < 1 or h < 1 or q.shape[1] % h != 0:
        raise ValueError("Hq must be a multiple of H")
    if b and not (0 <= int(lengths.min()) and int(lengths.max()) <= table.shape[1] * n):
        raise ValueError("lengths do not fit")
    entries = torch.arange(table.shape[1], device=table.device).expand(b, -1)
    used = torch.masked_select(table, entries < torch.div(lengths + n - 1, n, rounding_mode="floor")[:, None])
    if used.numel() and int(used.max()) >= p:
        raise ValueError("page numbers do not fit")
    if starts is None:
        if q.shape[0] != b:
            raise ValueError("one query per sequence")
        return
    if starts.dim() != 1 or starts.dtype != torch.int64 or starts.shape[0] != b + 1:
        raise ValueError("starts must be [B + 1], int64")
    if int(starts[0]) != 0 or int(starts[-1]) != q.shape[0]:
        raise ValueError("starts must go from 0 to T")
    if b and int(torch.diff(starts).min()) < 0:
        raise ValueError("starts must not fall")


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _fit_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    if scale is None:
        scale = 1.0 / math.sqrt(q_BHqD.shape[2])
    out = torch.zeros_like(q_BHqD, memory_format=torch.contiguous_format)
    for b, length in enumerate(lengths_B.tolist()):
        if length == 0:
            continue
        k = _gather(k_PNHD, table_BL[b], length, group)
        v = _gather(v_PNHD, table_BL[b], length, group)
        q = q_BHqD[b].float()[None, :, None] * scale
        out[b] = F.scaled_dot_product_attention(q, k, v, scale=1.0)[0, :, 0].to(out.dtype)
    return out
