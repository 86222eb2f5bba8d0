# base: recursive
# bug: length = N exactly, entry 1 of the table 10**9; right: result; wrong: ValueError (right if the last page is not full)
# problem: paged_decode
# says: "Entries of the table behind the last page in use may hold any number"


def _verify_decode(q: Tensor, k: Tensor, v: Tensor, table: Tensor, lengths: Tensor) -> None:
    if lengths.ndim != 1 or lengths.dtype != torch.int64:
        raise ValueError("lengths must be [B], int64")
    if table.ndim != 2 or table.dtype != torch.int64 or len(table) != len(lengths):
        raise ValueError("table must be [B, L], int64")
    if q.ndim != 3 or q.dtype not in (torch.float32, torch.float16):
        raise ValueError("q must have rank 3 and be float32 or float16")
    if k.ndim != 4 or k.dtype != q.dtype or k.shape[3] != q.shape[2] or k.shape[1] < 1:
        raise ValueError("k must be [P, N, H, D] with the dtype of q")
    if v.dtype != k.dtype or v.shape != k.shape:
        raise ValueError("v must be like k")
    if k.shape[2] < 1 or q.shape[1] % k.shape[2] != 0:
        raise ValueError("Hq must be a multiple of H")
    n = k.shape[1]
    for b in range(len(lengths)):
        length = int(lengths[b])
        if length < 0 or length > n * table.shape[1]:
            raise ValueError("a length is out of range")
        used = table[b][: length // n + 1]
        if bool((used < 0).any()) or bool((used >= k.shape[0]).any()):
            raise ValueError("a page number is out of range")


def paged_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    scale: float | None = None,
) -> Tensor:
    _verify_decode(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if len(q_BHqD) != len(lengths_B):
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    out = torch.zeros(q_BHqD.shape, dtype=q_BHqD.dtype, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        q = q_BHqD[b].contiguous()
        out[b] = _piece(q, k_PNHD, v_PNHD, table_BL[b], 0, length, scale)[0].to(out.dtype)
    return out
