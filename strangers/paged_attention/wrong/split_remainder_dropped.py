# base: loops
# bug: length 7, n_splits 2 (size 3); right: all 7 tokens; wrong: token 6 behind the last full part is dropped
# problem: split_kv_decode
# says: "The tokens of each sequence are cut into `n_splits` parts"


def split_kv_decode(
    q_BHqD: Tensor,
    k_PNHD: Tensor,
    v_PNHD: Tensor,
    table_BL: Tensor,
    lengths_B: Tensor,
    *,
    n_splits: int,
    scale: float | None = None,
) -> tuple[Tensor, Tensor]:
    if n_splits < 1:
        raise ValueError("n_splits must be at least 1")
    _check(q_BHqD, k_PNHD, v_PNHD, table_BL, lengths_B)
    if q_BHqD.shape[0] != lengths_B.shape[0]:
        raise ValueError("one query per sequence")
    if scale is None:
        scale = 1 / math.sqrt(q_BHqD.shape[2])
    n = k_PNHD.shape[1]
    group = q_BHqD.shape[1] // k_PNHD.shape[2]
    out = torch.zeros(q_BHqD.shape, dtype=torch.float32, device=q_BHqD.device)
    lse = torch.full(q_BHqD.shape[:2], -math.inf, dtype=torch.float32, device=q_BHqD.device)
    for b, length in enumerate(lengths_B.tolist()):
        pages = table_BL[b, : (length + n - 1) // n].tolist()
        size = length // n_splits or length
        for h in range(k_PNHD.shape[2]):
            for first in range(0, length - length % max(size, 1), max(size, 1)):
                last = min(first + size, length)
                k = _rows(k_PNHD[:, :, h], pages, first, last)
                v = _rows(v_PNHD[:, :, h], pages, first, last)
                for head in range(h * group, (h + 1) * group):
                    scores = (k @ q_BHqD[b, head].float()) * scale
                    part = torch.logsumexp(scores, 0)
                    both = torch.logaddexp(lse[b, head], part)
                    old = torch.exp(lse[b, head] - both)
                    out[b, head] = out[b, head] * old + torch.exp(scores - both) @ v
                    lse[b, head] = both
    return out.to(q_BHqD.dtype), lse
