# base: online_tiles
# bug: S = 200 with the largest score behind token 96: sums of the first tile must shrink by exp(old - new maximum), stay as they were
# problem: decode_attention
# says: "Return the attention of the T newest tokens of each row over its cached tokens."

def _online(q, get_kv, n, mask_of):
    """Online softmax. q [..., M, D] scaled float32; get_kv(a, b) -> k, v [..., b-a, D]."""
    m = torch.full(q.shape[:-1], -math.inf, device=q.device)
    total = torch.zeros(q.shape[:-1], device=q.device)
    acc = torch.zeros_like(q)
    for a in range(0, n, TILE):
        b = min(a + TILE, n)
        k, v = get_kv(a, b)
        s = q @ k.transpose(-1, -2)
        hide = mask_of(a, b)
        if hide is not None:
            s = s.masked_fill(hide, -math.inf)
        new = torch.maximum(m, s.amax(-1))
        base = torch.where(new == -math.inf, torch.zeros_like(new), new)
        p = torch.exp(s - base[..., None])
        fix = torch.exp(m - base)
        total = total * fix + p.sum(-1)
        acc = acc + p @ v
        m = new
    safe = torch.where(total > 0, total, torch.ones_like(total))
    return acc / safe[..., None]


def decode_attention(q_BHqTD, k_BHSD, v_BHSD, lengths_B, *, scale=None):
    _require(q_BHqTD.dim() == 4, "rank of q")
    _require(k_BHSD.dim() == 4 and v_BHSD.dim() == 4, "rank of k, v")
    _require(lengths_B.dim() == 1, "rank of lengths")
    B, Hq, T, D = q_BHqTD.shape
    H, S = k_BHSD.shape[1:3]
    _require(T >= 1, "T must be at least 1")
    _require(tuple(k_BHSD.shape) == (B, H, S, D), "shape of k")
    _require(tuple(v_BHSD.shape) == (B, H, S, D), "shape of v")
    _require(lengths_B.shape[0] == B, "one length per row")
    _require(H >= 1 and Hq % H == 0, "Hq must be a multiple of H")
    _require(q_BHqTD.dtype in {torch.float32, torch.float16, torch.bfloat16}, "dtype of q")
    _require(k_BHSD.dtype == q_BHqTD.dtype == v_BHSD.dtype, "dtypes differ")
    _require(lengths_B.dtype == torch.int64, "lengths are int64")
    lengths = [int(n) for n in lengths_B]
    _require(all(0 <= n <= S for n in lengths), "a length lies outside 0 ... S")
    factor = 1.0 / math.sqrt(D) if scale is None else scale
    out = torch.zeros(B, Hq, T, D, dtype=q_BHqTD.dtype, device=q_BHqTD.device)
    for b, n in enumerate(lengths):
        q = (q_BHqTD[b].float() * factor).reshape(H, (Hq // H) * T, D)
        own = torch.arange(n - T, n, device=q.device).repeat(Hq // H)

        def kv(lo, hi, b=b):
            return k_BHSD[b, :, lo:hi].float(), v_BHSD[b, :, lo:hi].float()

        def hide(lo, hi, own=own):
            return torch.arange(lo, hi, device=own.device) > own[:, None]

        out[b] = _online(q, kv, n, hide).view(Hq, T, D).to(out.dtype)
    return out
