# base: loops
# bug: T = 4, starts [0, 3, 1, 4]; right: ValueError; wrong: a result
# problem: paged_prefill
# says: "B + 1 numbers from 0 to T that never fall"


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
    _check(q_THqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if starts_B1.dim() != 1 or starts_B1.dtype != torch.int64:
        raise ValueError("starts must be int64, of rank 1")
    if starts_B1.shape[0] != lengths_B.shape[0] + 1:
        raise ValueError("starts must have B + 1 numbers")
    starts = starts_B1.tolist()
    if starts[0] != 0 or starts[-1] != q_THqD.shape[0]:
        raise ValueError("starts must go from 0 to T")
    if scale is None:
        scale = 1 / math.sqrt(q_THqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_THqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_THqD.shape, dtype=q_THqD.dtype, device=q_THqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        n_new = starts[b + 1] - starts[b]
        if n_new == 0 or length == 0:
            continue
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        for h in range(k_PNHD.shape[2]):
            k = _rows(k_PNHD[:, :, h], pages, 0, length)
            v = _rows(v_PNHD[:, :, h], pages, 0, length)
            for i in range(n_new):
                sees = length - n_new + i + 1
                if sees <= 0:
                    continue
                q = q_THqD[starts[b] + i, h * group : (h + 1) * group].float()
                weights = torch.softmax((q @ k[:sees].T) * scale, dim=1)
                out[starts[b] + i, h * group : (h + 1) * group] = (weights @ v[:sees]).to(out.dtype)
    return out
